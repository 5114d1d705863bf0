// Runs side by side: what they share, their scores and costs, and what changed from the first to the others.

import { get } from "../api.js";
import { fill, h, style } from "../dom.js";
import { keep } from "../main.js";
import { crumbs, number, pathOf } from "../ui.js";
import { plainTable, spentOf, verdict } from "./parts/results.js";

export async function show(root) {
  style("results");
  root.classList.add("results");
  const asked = new URLSearchParams(location.search);
  const runs = asked.getAll("runs");
  const body = h("div");
  const field = h("input", { id: "metric", value: asked.get("metric") || "", placeholder: "that of their studies" });
  const form = h("form.row.tools", { onsubmit: (event) => { event.preventDefault(); keep({ metric: field.value }); draw(); } },
    h("label.inline", { for: "metric" }, "Metric", field), h("button", {}, "Show"));
  fill(root, crumbs(["/", "Runs"], [null, "Compare"]), h("h1", {}, "Runs side by side"),
    h("p", {}, runs.map((run, i) => [i ? ", " : "", link(run)])), form, body);
  await draw();

  async function draw() {
    try {
      const found = await get("/compare", { runs, metric: field.value });
      field.placeholder = found.metric;
      fill(body, Object.entries(found.alone).map(([run, envs]) => h("p.quiet", {}, `Only ${run} has ${envs.join(", ")}.`)), found.tables.map((t) => table(t, found.metric)));
    } catch (error) {
      fill(body, h("p.error", { role: "alert" }, error.message), h("p", {}, h("a", { href: "/" }, "Choose other runs")));
    }
  }
}

const link = (run) => h("a", { href: `/runs/${encodeURIComponent(run)}` }, pathOf(run));

function table(t, metric) {
  const met = Object.entries(t.met).map(([run, n]) => `${run} ${number(n)}`).join(", ");
  const blocks = t.paired ? `${number(t.common)} blocks were met by all of them (${met}).` : `No block is common to them (${met}).`;
  return h("section", {}, h("h2", {}, t.env), h("p", {}, blocks), t.notes.length > 0 && h("ul.notes", {}, t.notes.map((n) => h("li", {}, n))),
    t.changes.length > 0 && plainTable(`Lineups of one name: difference of ${metric} from the first run that has it`,
      [["Lineup"], ["Run"], ["Against"], ["Difference", true], ["Verdict"], ["Over"], ["Agents"]],
      t.changes.map((c) => [c.lineup, link(c.run), link(c.against), c.said, verdict(c.comparison.verdict, c.word), `${number(c.blocks)} ${c.paired ? "common blocks" : "blocks, unpaired"}`, c.same ? "the same" : h("span.badge.flag", {}, "described differently")])),
    plainTable(`Every lineup: mean ${metric} with its interval, and what it spent`,
      [["Lineup"], ["Run"], ["Role"], [metric, true], ["Blocks", true], ["Episodes", true], ["Fallbacks", true], ["Spent"]],
      t.lines.map((l) => [l.lineup, link(l.run), l.role, l.mean, number(l.blocks), number(l.episodes), [number(l.costs.fallbacks), l.costs.flagged && h("span.badge.flag", {}, "flag")], spentOf({ ...l.costs, tokens: l.costs.tok_in + l.costs.tok_out })])));
}
