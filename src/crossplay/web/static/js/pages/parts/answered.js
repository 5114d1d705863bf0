// What participants of a study were asked and answered, and who took part, as the tables have it.

import { h } from "../../dom.js";
import { interval, number } from "../../ui.js";

/** Who took part, in a sentence. */
export function attended(a) {
  const found = [`${a.took_part} took part`];
  for (const [k, text] of [["going", "in session"], ["left", "left before the end"], ["declined", "declined"], ["withdrawn", "withdrew, and all of theirs was removed"], ["invited", "invited and not begun"], ["unused", "links taken back unused"]]) if (a[k]) found.push(`${a[k]} ${text}`);
  if (a.rows > 1) found.push(`orders are balanced after every ${a.rows} complete sessions`);
  return `${found.join(", ")}.`;
}

/** One question with what was answered about each partner. */
export function asked(q) {
  const bounds = q.low === null || q.low === undefined || q.high === null || q.high === undefined ? "" : `, ${number(q.low)} to ${number(q.high)}`;
  const rows = q.rows.filter((r) => r.summary);
  const mean = ({ mean }) => interval({ value: mean.value, low: mean.interval?.low, high: mean.interval?.high }, 2) + (mean.interval ? "" : ` (${mean.mark})`);
  const by = (c) => (c ? interval({ value: c.difference, low: c.adjusted_interval?.low, high: c.adjusted_interval?.high }, 2) : "");
  return h("div", {}, h("h3", {}, q.ask),
    rows.length > 0 && h("div.scroll", { tabIndex: 0, role: "region", "aria-label": q.ask }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Lineup"), h("th.number", { scope: "col" }, `${q.name}${bounds}`), h("th.number", { scope: "col" }, "Difference"), h("th", { scope: "col" }, ""), h("th.number", { scope: "col" }, "Participants"))),
      h("tbody", {}, rows.map((r) => h("tr", {}, h("th", { scope: "row" }, r.lineup || "all"), h("td.number", {}, mean(r.summary)), h("td.number", {}, by(r.comparison)), h("td", {}, r.comparison && h("span", { class: `badge ${r.comparison.verdict}` }, r.comparison.verdict)), h("td.number", {}, number(r.answers))))))),
    q.rows.map((r) => [
      Object.keys(r.counts).length > 0 && h("p", {}, r.lineup && h("strong", {}, `${r.lineup}: `), Object.entries(r.counts).sort((a, b) => b[1] - a[1]).map(([k, n]) => `${k}: ${n}`).join(", ")),
      Object.keys(r.texts).length > 0 && h("details", {}, h("summary", {}, `${Object.keys(r.texts).length} texts${r.lineup ? ` about ${r.lineup}` : ""}`), h("ul", {}, Object.entries(r.texts).map(([who, text]) => h("li", {}, h("strong", {}, who), ": ", text))))]));
}
