// The episodes of a run, in pages: filtered, sorted, each with the link to where it can be watched.

import { get, listen, path } from "../api.js";
import { fill, h, style } from "../dom.js";
import { keep } from "../main.js";
import { crumbs, duration, number, pagedTable, pathOf } from "../ui.js";

export async function show(root, { parts, query }) {
  style("results");
  root.classList.add("results");
  const { run } = parts;
  const here = `/runs/${encodeURIComponent(run)}`;
  const only = { lineup: query.lineup || "", env: query.env || "", status: query.status || "" };
  const first = await get(path`/runs/${run}/episodes`, { limit: 1 });
  let known = Object.values(first.statuses).reduce((a, b) => a + b, 0);

  const pick = (title, name, options) => {
    const all = Object.entries(options);
    if (all.length < 2 && !only[name]) return null;
    if (only[name] && !(only[name] in options)) all.push([only[name], 0]);
    return h("label.inline", {}, title, h("select", { onchange: (event) => { only[name] = event.target.value; keep({ [name]: only[name] }); table.again({ offset: 0 }); } },
      h("option", { value: "" }, "all"), all.map(([value, n]) => h("option", { value, selected: value === only[name] }, `${value} (${number(n)})`))));
  };
  const id = (row) => h("a.id.mono", { href: `${here}/episodes/${row.episode}`, title: row.episode }, row.episode.slice(0, 8));
  const ended = (row) => [row.status, row.detail && h("small", { title: row.detail }, ` ${row.detail.slice(0, 60)}`)];
  const columns = [
    { key: "seq", title: "Episode", cell: id },
    { key: "lineup", title: "Lineup", cell: (row) => [row.lineup, row.order !== row.lineup && h("small.quiet", {}, ` as ${row.order}`)] },
    Object.keys(first.environments).length > 1 && { key: "env", title: "Environment" },
    { key: "block", title: "Block", cell: (row) => row.block + (row.replicate ? `.${row.replicate}` : "") },
    { key: "value", title: first.metric, number: true, cell: (row) => number(row.value) },
    { key: "status", title: "Ended", cell: ended },
    { key: "ticks", title: "Steps", number: true, cell: (row) => number(row.ticks) },
    { key: "fallbacks", title: "Fallbacks", number: true, cell: (row) => (row.fallbacks ? h("span.badge.flag", {}, number(row.fallbacks)) : "0") },
    { key: "calls", title: "Calls", number: true, cell: (row) => number(row.calls) },
    { key: "tok_out", title: "Tokens out", number: true, cell: (row) => number(row.tok_out) },
    { key: "wall_s", title: "Took", number: true, cell: (row) => duration(row.wall_s) },
  ].filter(Boolean);
  const more = h("button", { hidden: true, onclick: () => { more.hidden = true; table.again(); } });
  const table = pagedTable({
    columns, limit: 50, offset: Math.max(0, Math.trunc(Number(query.from)) || 0), sort: query.sort || "seq", down: query.down === "true",
    load: ({ offset, limit, sort, down, search }) => {
      keep({ sort: sort === "seq" ? "" : sort, down: down ? "true" : "", from: offset || "" });
      return get(path`/runs/${run}/episodes`, { offset, limit, sort, down, search, ...only });
    },
    tools: [pick("Lineup", "lineup", first.lineups), pick("Environment", "env", first.environments), pick("Ended", "status", first.statuses), more],
    empty: known ? "No episode fits; take a filter away." : "No episode has ended yet; this page shows them as they come.",
  });
  fill(root, crumbs(["/", "Runs"], [here, pathOf(run)], [null, "Episodes"]), h("h1", {}, "Episodes"), table.element);

  await table.ready;
  return listen("/events", async (kind, row) => {
    if (kind === "hello") { // some may have come while nobody listened
      row = (await get(path`/runs/${run}`).catch(() => null))?.row;
      if (row) kind = "run";
    }
    if (kind !== "run" || row.episodes + row.void <= known) return;
    more.textContent = `Show ${number(row.episodes + row.void - known)} new`;
    more.hidden = false;
    if (!known) { known = row.episodes + row.void; more.click(); }
  }, { run });
}
