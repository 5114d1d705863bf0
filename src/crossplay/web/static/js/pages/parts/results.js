// Small parts of the pages about runs: states, progress, costs and verdicts as elements.

import { h } from "../../dom.js";
import { caption, number } from "../../ui.js";

const STATES = { done: ["done", "good"], going: ["going", "going"], open: ["unfinished", ""], damaged: ["damaged", "bad"] };

/** The state of a run as a label. */
export function stateBadge(row) {
  const [word, kind] = STATES[row.state];
  return h("span.badge", { class: kind, title: row.why || null }, word);
}

/** How far a run is: a bar while something is missing, and numbers. */
export function progressOf(row) {
  const share = row.planned ? row.episodes / row.planned : 0;
  const said = row.episodes === row.planned ? number(row.episodes) : `${number(row.episodes)} of ${number(row.planned)}`;
  return [
    row.state !== "done" && row.planned > 0 && h("progress", { max: row.planned, value: Math.min(row.episodes, row.planned), "aria-label": `${Math.floor(100 * share)} % played` }),
    h("small", {}, `${said} episode${row.planned === 1 ? "" : "s"}`),
  ];
}

/** What was paid for, in one line. */
export function spentOf(row) {
  const parts = [];
  if (row.calls) parts.push(`${number(row.calls)} calls`, `${number(row.tokens)} tokens`);
  if (row.money) parts.push(`${number(row.money, row.money < 1 ? 4 : 2)} USD`);
  else if (row.money === null && row.calls) parts.push("no price known");
  if (row.cpu_s) parts.push(`${number(row.cpu_s, 1)} CPU s`);
  return h("span", {}, parts.length ? parts.join(", ") : "nothing");
}

/** "3 min ago", with the time itself for whoever asks. */
export function ago(at) {
  const s = Math.max(0, Date.now() / 1000 - at);
  const [n, unit] = s < 60 ? [s, "s"] : s < 3600 ? [s / 60, "min"] : s < 172800 ? [s / 3600, "h"] : [s / 86400, "days"];
  const when = new Date(at * 1000);
  return h("time", { datetime: when.toISOString(), title: when.toLocaleString("en"), "data-at": String(at) }, s < 5 ? "now" : `${Math.floor(n)} ${unit} ago`);
}

/** A verdict as a label: a word, a colour besides. */
export const verdict = (kind, word) => word && h("span.badge", { class: kind === "underpowered" ? "" : kind }, word);

/** A table of plain rows. columns: [[title, number?]]; the first cell of a row is its heading. */
export function plainTable(about, columns, rows) {
  return h("div.scroll", {}, h("table", {},
    caption(about),
    h("thead", {}, h("tr", {}, columns.map(([title, isNumber]) => h(isNumber ? "th.number" : "th", { scope: "col" }, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => (i ? h(columns[i][1] ? "td.number" : "td", {}, cell) : h("th", { scope: "row" }, cell))))))));
}
