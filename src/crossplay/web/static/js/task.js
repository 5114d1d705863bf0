// A command that runs beside the server: its state, its log, a button that stops it. It outlives the page, not the server.

import { get, path, post } from "./api.js";
import { fill, h } from "./dom.js";
import { attempt, duration } from "./ui.js";

const STATES = { running: ["going", "running"], done: ["good", "done"], failed: ["bad", "failed"], stopped: ["flag", "stopped"] };

/** A panel that follows a task; over(task) is called once when it has ended. Returns {element, leave}. */
export function taskPanel(task, over = () => {}) {
  const state = h("span.badge"), time = h("span.quiet"), log = h("pre.log", { tabIndex: 0, "aria-label": "Log" }), runs = h("p");
  const stop = h("button.danger", { onclick: () => attempt(async () => { show(await post(path`/tasks/${task.id}/stop`)); again(); }, stop) }, "Stop");
  const element = h("section.panel.task", { "aria-label": task.kind }, h("div.row.apart", {}, h("strong", {}, `${task.kind} ${task.title}`), h("span.row", {}, state, time, stop)), h("p.fine", {}, h("code", {}, task.command)), log, runs);
  let timer = 0, left = false, told = false;
  function show(now) {
    const [kind, word] = STATES[now.state];
    state.className = `badge ${kind}`;
    state.textContent = now.code && now.state === "failed" ? `${word} (exit code ${now.code})` : word;
    time.textContent = duration(Math.max(0, (now.ended ?? Date.now() / 1000) - now.started));
    stop.hidden = now.state !== "running";
    if (now.log) {
      const end = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
      log.textContent = now.log.join("\n");
      log.hidden = !now.log.length;
      if (end) log.scrollTop = log.scrollHeight;
    }
    fill(runs, now.runs.length ? ["Runs: ", now.runs.map((r, i) => [i ? ", " : "", h("a", { href: path`/runs/${r}` }, r.split("~").at(-1))])] : null);
  }
  async function again() {
    clearTimeout(timer);
    if (left) return;
    try {
      const now = await get(path`/tasks/${task.id}`, { lines: 60 });
      if (left) return;
      show(now);
      if (now.state !== "running") {
        if (!told) over(now);
        told = true;
        return;
      }
    } catch (error) {
      if (error.status === 404) { fill(element, h("p.error", {}, error.message)); return; }
      time.textContent = "the server does not answer";
    }
    timer = setTimeout(again, 1000);
  }
  show(task);
  log.hidden = true;
  again();
  return { element, leave: () => { left = true; clearTimeout(timer); } };
}
