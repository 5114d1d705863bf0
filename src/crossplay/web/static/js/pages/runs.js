// All runs: what there is, how far each is, what it has spent. Tick some to set them side by side.

import { get, listen } from "../api.js";
import { calm, fill, h, style } from "../dom.js";
import { go, keep } from "../main.js";
import { many, pagedTable, pathOf } from "../ui.js";
import { ago, progressOf, spentOf, stateBadge } from "./parts/results.js";

const STATES = [["", "any state"], ["going", "going"], ["open", "unfinished"], ["done", "done"], ["damaged", "damaged"]];

export async function show(root, { query }) {
  style("results");
  root.classList.add("results");
  const shown = new Map(); // run -> what shows it, to be changed as it goes on
  const ticked = new Set();
  let last = null; // what was asked for last, and the answer as text
  const state = h("select", { onchange: () => { keep({ state: state.value }); table.again({ offset: 0 }); } }, STATES.map(([value, text]) => h("option", { value, selected: value === (query.state || "") }, text)));
  const compare = h("button.main", { disabled: true, onclick: () => go(`/compare?${new URLSearchParams([...ticked].map((run) => ["runs", run]))}`) }, "Compare");
  const where = h("p.quiet");
  const count = () => {
    compare.disabled = ticked.size < 2;
    compare.textContent = ticked.size < 2 ? "Compare (tick two or more)" : `Compare ${ticked.size} runs`;
  };

  const table = pagedTable({
    columns: [
      { key: "tick", title: "Compare", hidden: true, sort: false, cell: (row) => h("input", {
        type: "checkbox", checked: ticked.has(row.run), "aria-label": `Compare ${row.run}`,
        onchange: (event) => { ticked[event.target.checked ? "add" : "delete"](row.run); count(); },
      }) },
      { key: "run", title: "Run", cell: name },
      { key: "episodes", title: "Episodes", cell: (row) => live(row).progress },
      { key: "tokens", title: "Spent so far", label: "Spent", cell: (row) => live(row).spent },
      { key: "changed", title: "Changed", label: "Changed", cell: (row) => live(row).changed },
    ],
    load: async (asked) => {
      shown.clear();
      const found = await get("/runs", { ...asked, state: state.value });
      last = [asked, JSON.stringify(found)];
      const some = Boolean(found.total || asked.search || state.value);
      where.textContent = some ? "" : `${found.root} holds no run.`;
      start.hidden = some;
      table.element.hidden = !some;
      return found;
    },
    sort: "changed", down: true, limit: 50, stacked: true, empty: "No run fits.",
    tools: h("label.inline", {}, "State", state),
  });

  function name(row) {
    const lineups = many(row.lineups.length, "lineup");
    return h("div.name", {}, h("a", { href: `/runs/${encodeURIComponent(row.run)}` }, pathOf(row.run)),
      row.study !== row.run && h("small", {}, row.study), row.why ? h("small.error", {}, row.why) : h("small", { title: row.lineups.join(", ") }, [row.environments.join(", "), lineups].filter(Boolean).join("; ")));
  }

  function live(row) {
    if (!shown.has(row.run)) shown.set(row.run, { progress: h("div.progress"), spent: h("span.nowrap"), changed: h("span.nowrap") });
    const at = shown.get(row.run);
    fill(at.progress, stateBadge(row), " ", progressOf(row), row.flagged && [" ", h("span.badge.flag", { title: "The conduct moved for an agent in more of its decisions than the study allows" }, "many fallbacks")]);
    fill(at.spent, spentOf(row));
    fill(at.changed, ago(row.changed));
    return at;
  }

  const start = h("div.panel.stack", { hidden: true }, h("h2", {}, "How to begin"),
    h("p", {}, "Make a study and play it: ", h("a", { href: "/new" }, "New study"), "."),
    h("p", {}, "Or from the command line: ", h("code", {}, "crossplay demo"), " plays a small one in a few minutes, ", h("code", {}, "crossplay run study.toml"), " one of your own."));
  fill(root, h("div.row.apart", {}, h("h1", {}, "Runs"), compare), where, start, table.element);
  count();

  const again = calm(() => table.again(), 500);
  /** Whether something has changed while nobody listened. */
  async function look() {
    if (!last) return;
    const [asked, before] = last;
    const now = await get("/runs", { ...asked, state: state.value }).catch(() => null);
    if (now && last[1] === before && JSON.stringify(now) !== before) again();
  }
  const stop = listen("/events", (kind, row) => {
    if (kind === "hello") look();
    else if (kind === "run" && shown.has(row.run) && shown.get(row.run).progress.isConnected) live(row);
    else if (kind === "run" || kind === "gone") again();
  });
  const clock = setInterval(() => { for (const t of root.querySelectorAll("time")) t.textContent = ago(Number(t.dataset.at)).textContent; }, 20000);
  await table.ready;
  return () => { stop(); clearInterval(clock); };
}
