// What can be done with a run: stop it, go on with it, write a study that begins as this one.

import { path, post } from "../../api.js";
import { h } from "../../dom.js";
import { attempt, tell } from "../../ui.js";

/** Buttons for a row of the list of runs; `again` is called when something was done. */
export function controlOf(row, again = () => {}) {
  const where = encodeURIComponent(row.run);
  const button = (title, kind, what, done) => {
    const made = h(`button${kind}`, { type: "button", onclick: async () => {
      if (!(await attempt(() => post(path`/runs/${row.run}/${what}`), made))) return;
      made.disabled = true;
      tell(done);
      again();
    } }, title);
    return made;
  };
  return [
    row.state === "going" && button("Stop", ".danger", "stop", "It stops after the episodes that are being played; what is finished is kept."),
    row.state === "open" && button("Go on", "", "resume", "It goes on."),
    row.state !== "damaged" && h("a.button", { href: `/new?run=${where}` }, "New study from this"),
  ];
}
