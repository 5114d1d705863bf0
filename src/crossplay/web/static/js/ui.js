// Parts that several pages use: tables, tabs, notices, figures to take away, numbers in words.

import { calm, drawing, fill, h } from "./dom.js";
import { sheet } from "./sheets.js";

/** A notice in the corner, read aloud by screen readers. kind "bad" stays longer. */
export function tell(text, kind = "") {
  const note = h("div", { class: kind }, text);
  document.getElementById("told").append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 12000 : 5000);
}

/** Do something that may fail, say why where it does; a button is off meanwhile. */
export async function attempt(work, button = null) {
  if (button) button.disabled = true;
  try {
    return await work();
  } catch (error) {
    tell(error.message, "bad");
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

export const number = (value, digits = 3) =>
  value === null || value === undefined ? "" : Number(value).toLocaleString("en", { maximumFractionDigits: digits }).replace("-", "\u2212");
/** "1 episode", "1,200 episodes" */
export const many = (n, what) => `${number(n)} ${what}${n === 1 ? "" : "s"}`;
/** The name of a run or of a study's file, as a path: addresses have "~" between its parts. */
export const pathOf = (name) => name.replaceAll("~", " / ");
/** With exactly so many digits after the point, for columns of numbers. */
export const fixed = (value, digits) =>
  value === null || value === undefined ? "" : Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "\u2212");
/** A sentence of the record with the minus of print, as the numbers of tables have it. */
export const minus = (text) => text.replace(/(?<![\w.\])-])-(?=\d)/g, "\u2212");
/** "0.483 [0.353, 0.614]" */
export const interval = (e, digits = 3) =>
  e === null || e === undefined ? "" : e.low === null || e.low === undefined ? number(e.value, digits) : `${number(e.value, digits)} [${number(e.low, digits)}, ${number(e.high, digits)}]`;
export const bytes = (n) => (n < 1024 ? `${n} B` : n < 1 << 20 ? `${number(n / 1024, 1)} KiB` : `${number(n / (1 << 20), 1)} MiB`);
export const duration = (s) => (s > 0 && s < 0.0005 ? "< 1 ms" : s < 1 ? `${number(s * 1000, 0)} ms` : s < 100 ? `${number(s, 1)} s` : s < 6000 ? `${number(s / 60, 0)} min` : `${number(s / 3600, 1)} h`);

/** What a table shows, in words; it stays in sight while the table scrolls. */
export const caption = (text) => h("caption.quiet", {}, h("span", {}, text));

/**
 * A table whose rows come in pages, sorted and filtered by whoever holds them, so that 100,000 rows are no burden.
 * columns: [{key, title, cell(row) -> node or text, number, sort (false: cannot be sorted by it), hidden (a title for readers alone)}].
 * load({offset, limit, sort, down, search}) -> {rows, total}. tools: what stands beside the filter. stacked: cards on a phone.
 * Returns {element, again(changes), ready}; changes: of offset, sort and so on, e.g. {offset: 0} when a filter has changed; ready: when
 * the first rows are there.
 */
export function pagedTable({ columns, load, limit = 50, offset = 0, search = true, tools = null, stacked = false, sort = "", down = false, empty = "Nothing here yet." }) {
  const state = { offset, limit, sort, down, search: "" };
  const head = h("thead"), body = h("tbody"), foot = h("div.row.apart"), said = h("p.error", { role: "alert" });
  let asked = 0;
  async function again(changes = {}) {
    Object.assign(state, changes);
    const mine = ++asked;
    try {
      const { rows, total } = await load({ ...state });
      if (mine !== asked) return;
      said.textContent = "";
      if (!rows.length && total && state.offset) return again({ offset: 0 }); // what was looked at is no more
      const focus = [...head.querySelectorAll("button")].indexOf(document.activeElement);
      fill(head, h("tr", { role: "row" }, columns.map(title)));
      if (focus >= 0) head.querySelectorAll("button")[focus]?.focus();
      fill(body, rows.map((row) => h("tr", { role: "row" }, columns.map((c) => h(c.number ? "td.number" : "td", { role: "cell", "data-title": stacked && c.label }, c.cell ? c.cell(row) : row[c.key])))));
      if (!rows.length) fill(body, h("tr", { role: "row" }, h("td.quiet", { role: "cell", colSpan: columns.length }, empty)));
      const last = Math.min(total, state.offset + state.limit);
      fill(foot, h("span.quiet", {}, total ? `${number(state.offset + 1)} to ${number(last)} of ${number(total)}` : ""), total > state.limit && h("span.row", {}, turn("Back", -state.limit, state.offset > 0), turn("Next", state.limit, last < total)));
    } catch (error) {
      said.textContent = error.message;
    }
  }
  const turn = (name, by, can) => h("button", { disabled: !can, onclick: () => { state.offset = Math.max(0, state.offset + by); again(); } }, name);
  function title(c) {
    const mine = state.sort === c.key;
    const order = mine ? (state.down ? "descending" : "ascending") : null;
    if (c.sort === false) return h(c.number ? "th.number" : "th", { scope: "col", role: "columnheader" }, c.hidden ? h("span.unseen", {}, c.title) : c.title);
    return h(c.number ? "th.number" : "th", { scope: "col", role: "columnheader", "aria-sort": order }, h("button", {
      onclick: () => {
        Object.assign(state, { down: mine ? !state.down : Boolean(c.number), sort: c.key, offset: 0 });
        again();
      },
    }, c.title, mine ? (state.down ? " \u25be" : " \u25b4") : ""));
  }
  const field = h("input", { type: "search", placeholder: "Filter", "aria-label": "Filter", value: state.search, oninput: calm(() => { state.search = field.value; state.offset = 0; again(); }) });
  for (const part of [head, body]) part.setAttribute("role", "rowgroup");
  const element = h("div.stack", {}, (search || tools) && h("div.row.tools", {}, search && field, tools), said, h("div.scroll", {}, h("table", { class: stacked ? "stacked" : null, role: "table" }, head, body)), foot);
  return { element, again, ready: again() };
}

let panels = 0;

/** Tabs: [[key, title, async make() -> node]]; made when first shown. chosen(key) is told; about: what they are of. */
export function tabs(list, first, chosen = () => {}, about = "Views") {
  const id = `panel-${++panels}`;
  const made = {}, panel = h("div", { role: "tabpanel", tabIndex: 0, id });
  const buttons = list.map(([key, title], i) => h("button", { role: "tab", id: `${id}-${key}`, "aria-controls": id, onclick: () => choose(key), onkeydown: (e) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: list.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const next = (to + list.length) % list.length;
    buttons[next].focus();
    choose(list[next][0]);
  } }, title));
  const bar = h("div", { role: "tablist", "aria-label": about }, buttons);
  sheet(bar);
  let now = "";
  async function choose(key) {
    now = key;
    buttons.forEach((b, i) => { const on = list[i][0] === key; b.setAttribute("aria-selected", on); b.tabIndex = on ? 0 : -1; if (on) reveal(b); });
    panel.setAttribute("aria-labelledby", `${id}-${key}`);
    chosen(key);
    if (!made[key]) {
      fill(panel, h("p.quiet", {}, "Loading ..."));
      try {
        made[key] = await list.find(([k]) => k === key)[2]();
      } catch (error) {
        if (now === key) fill(panel, h("p.error", { role: "alert" }, error.message));
        return;
      }
    }
    if (now === key) fill(panel, made[key]); // another one may have been chosen meanwhile
  }
  /** On a phone the bar scrolls: the chosen one is in sight. */
  function reveal(button) {
    requestAnimationFrame(() => { if (bar.scrollWidth > bar.clientWidth) bar.scrollLeft = button.offsetLeft - bar.offsetLeft - (bar.clientWidth - button.offsetWidth) / 2; });
  }
  choose(list.some(([k]) => k === first) ? first : list[0][0]);
  return h("div", {}, bar, panel);
}

/** A drawing with its caption, to take away as SVG or PNG, and its numbers as CSV. csv: an address. */
export function figure(caption, svgText, { name = "figure", csv = null } = {}) {
  const svg = drawing(svgText);
  return h("figure", {}, h("figcaption", {}, caption), svg, h("div.row.quiet", {}, h("small", {}, "Save: "),
    h("a", { href: "#", onclick: (e) => { e.preventDefault(); save(new Blob([alone(svg)], { type: "image/svg+xml" }), `${name}.svg`); } }, "SVG"),
    h("a", { href: "#", onclick: (e) => { e.preventDefault(); savePng(svg, name); } }, "PNG"),
    csv && h("a", { href: csv, download: `${name}.csv` }, "CSV")));
}

/** The text of a drawing that stands by itself: the colours it has here are written into it. */
function alone(svg) {
  const copy = svg.cloneNode(true);
  const styled = ["fill", "fill-opacity", "stroke", "stroke-linejoin", "stroke-width", "stroke-dasharray", "font-size", "font-weight", "font-family", "paint-order", "opacity"];
  if (svg.isConnected) {
    const [here, there] = [svg, copy].map((s) => [s, ...s.querySelectorAll("*")]);
    here.forEach((element, i) => { const found = getComputedStyle(element); for (const name of styled) there[i].setAttribute(name, found.getPropertyValue(name)); });
  }
  const box = svg.getBoundingClientRect();
  if (box.width) { copy.setAttribute("width", box.width); copy.setAttribute("height", box.height); } // percentages need a size to be of
  copy.removeAttribute("style");
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return new XMLSerializer().serializeToString(copy);
}

function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function savePng(svg, name) {
  const box = svg.getBoundingClientRect(), scale = 2;
  const picture = new Image();
  picture.onload = () => {
    const canvas = h("canvas", { width: box.width * scale, height: box.height * scale });
    const pen = canvas.getContext("2d");
    pen.fillStyle = getComputedStyle(document.body).backgroundColor;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(picture.src);
    canvas.toBlob((blob) => save(blob, `${name}.png`));
  };
  picture.src = URL.createObjectURL(new Blob([alone(svg)], { type: "image/svg+xml" }));
}

/** Where one is: [[href, text], ..., [null, text]]. */
export const crumbs = (...parts) =>
  h("nav.crumbs", { "aria-label": "Where this is" }, parts.map(([href, text], i) => [i ? " / " : "", href ? h("a", { href }, text) : h("span", { "aria-current": "page" }, text)]));
