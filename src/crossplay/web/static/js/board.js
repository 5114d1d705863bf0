// Answers that are no keys: a board to click, a list of legal moves, text, sliders, and JSON for all else.

import { fill, h } from "./dom.js";

const words = (name) => name.replaceAll("_", " ");
const SQUARE = /^([a-z])(\d{1,2})$/i, PATH = /^([a-z]\d{1,2})([a-z]\d{1,2})(.*)$/i, CELL = /\(\s*(\d+)\s*,\s*(\d+)\s*\)/, COLUMN = /^column_(\d+)$/;
const ROWS = ["top", "centre", "bottom"], COLUMNS = ["left", "middle", "right"];
const PIECES = { k: "\u265a", q: "\u265b", r: "\u265c", b: "\u265d", n: "\u265e", p: "\u265f", K: "\u2654", Q: "\u2655", R: "\u2656", B: "\u2657", N: "\u2658", P: "\u2659" };

/** Whether the names of actions are those of a board that can be clicked. */
export function isBoard(names) {
  names = names.filter((n) => !n.startsWith("void_"));
  const known = names.filter((n) => SQUARE.test(n) || PATH.test(n) || CELL.test(n) || COLUMN.test(n) || named(n)).length;
  return names.length > 2 && known >= names.length * 0.6;
}

function named(name) {
  const [row, column] = name.split("_");
  return ROWS.includes(row) && COLUMNS.includes(column) ? [ROWS.indexOf(row), COLUMNS.indexOf(column)] : null;
}

/** The rows of cells in a text view, with the numbers and letters beside them; null where there is no board. */
export function readBoard(text) {
  let best = null, run = [];
  const close = () => { if (run.length >= 2 && run.length * run[0].cells.length > (best ? best.length * best[0].cells.length : 3)) best = run; run = []; };
  for (const line of text.split("\n")) {
    const label = line.match(/^\s*(\d{1,2})(?=\s|[^\d\s])/)?.[1] ?? "";
    const rest = line.replace(/^\s*\d{1,2}\s?(?=[^\d])/, "");
    const spaced = rest.trim().split(/\s+/);
    const cells = spaced.length > 1 && spaced.every((c) => c.length === 1) ? spaced : [...rest.trim()];
    const good = cells.length >= 2 && cells.every((c) => !/\s/.test(c)) && !/[:,]/.test(rest) && !/[a-z]{3} |\w\w\w\w \w/i.test(rest);
    if (!good || (run.length && run[0].cells.length !== cells.length)) close();
    if (good && !/^a ?b ?c/i.test(rest.trim()) && !/^1 ?2 ?3/.test(rest.trim())) run.push({ label, cells });
    else if (good) close();
  }
  close();
  return best;
}

/** A board of which the cells are buttons. play(name) when a move is complete. Returns {element, show(text, legal)}; show says whether there is a board. */
export function board(play, { chess = false } = {}) {
  const grid = h("div.board", { role: "grid", "aria-label": "Board" });
  let from = null;
  function show(text, legal) {
    const rows = readBoard(text);
    if (!rows) { fill(grid); return false; }
    const moves = targets(rows, legal || []);
    if (from !== null && !moves.has(from)) from = null;
    const wide = rows[0].cells.length;
    grid.style.setProperty("--columns", wide);
    grid.style.setProperty("--cell", wide <= 4 ? "5rem" : wide <= 8 ? "3.4rem" : "2.6rem");
    fill(grid, rows.map((row, r) => h("div.board-row", { role: "row" }, row.cells.map((mark, c) => cell(rows, moves, r, c, mark, text, legal)))));
    return true;
  }
  function cell(rows, moves, r, c, mark, text, legal) {
    const at = `${r},${c}`, here = moves.get(at), goal = from !== null ? moves.get(from)?.to?.get(at) : null;
    const can = Boolean(goal || here);
    const empty = mark === "." || mark === "-" || mark === "_";
    const shown = empty ? "" : chess && PIECES[mark] ? PIECES[mark] : mark;
    const name = `row ${r + 1}, column ${c + 1}: ${empty ? "empty" : mark}${can ? ", can be played" : ""}`;
    const click = () => {
      if (goal) { from = null; choose(goal); }
      else if (here?.names) choose(here.names);
      else if (here?.to) { from = from === at ? null : at; show(text, legal); }
    };
    const light = (r + c) % 2 ? "dark" : "light";
    return h(`button.${light}`, { role: "gridcell", "aria-label": name, disabled: !can, class: [goal && "goal", from === at && "from", mark === mark.toUpperCase() ? "upper" : "lower"].filter(Boolean).join(" "), onclick: click }, shown || (can && !here?.to ? "\u00b7" : ""));
  }
  function choose(names) {
    if (names.length === 1) return play(names[0]);
    const dialog = h("dialog", { onclose: () => dialog.remove() }, h("h2", {}, "Which one?"), h("div.row", {}, names.map((n) => h("button", { onclick: () => { dialog.close(); play(n); } }, words(n)))));
    document.body.append(dialog);
    return dialog.showModal();
  }
  return { element: grid, show };
}

/** Which cell plays what: "r,c" -> {names} or {to: "r,c" -> names}. */
function targets(rows, legal) {
  const high = rows.length, wide = rows[0].cells.length, found = new Map();
  const rowOf = (number) => { const i = rows.findIndex((row) => row.label === String(number)); return i >= 0 ? i : number - 1; };
  const place = (square) => { const [, letter, number] = square.match(SQUARE); return [rowOf(Number(number)), columnOf(letter)]; };
  const columnOf = (letter) => { const at = letter.toLowerCase().charCodeAt(0) - 97; return wide > 8 && rows.some((r) => r.label) && at > 8 ? at - 1 : at; }; // Go leaves out I
  const add = ([r, c], name) => {
    if (r < 0 || c < 0 || r >= high || c >= wide) return;
    const at = `${r},${c}`, there = found.get(at) || {};
    (there.names ||= []).push(name);
    found.set(at, there);
  };
  for (const name of legal) {
    let fit;
    if ((fit = name.match(CELL))) add([Number(fit[1]), Number(fit[2])], name);
    else if ((fit = name.match(COLUMN))) for (let r = 0; r < high; r++) add([r, Number(fit[1]) - 1], name);
    else if (named(name)) add(named(name), name);
    else if (SQUARE.test(name)) add(place(name), name);
    else if ((fit = name.match(PATH))) {
      const [start, end] = [place(fit[1]).join(","), place(fit[2]).join(",")];
      const there = found.get(start) || {};
      there.to ||= new Map();
      there.to.set(end, [...(there.to.get(end) || []), name]);
      found.set(start, there);
    }
  }
  return found;
}

/** A list of legal moves, with a filter where they are many. Returns {element, show(legal)}. */
export function moves(play) {
  const list = h("div.moves", { role: "group", "aria-label": "Legal moves" });
  let legal = [];
  const field = h("input", { type: "search", placeholder: "Find a move", "aria-label": "Find a move", oninput: draw, onkeydown: (e) => { if (e.key === "Enter") { const one = fitting(); if (one.length) play(one[0]); } } });
  const fitting = () => legal.filter((n) => words(n).toLowerCase().includes(field.value.toLowerCase().trim()));
  function draw() {
    const all = fitting();
    fill(list, all.slice(0, 200).map((name) => h("button", { onclick: () => play(name), "data-action": name }, words(name))), all.length > 200 && h("span.quiet", {}, `and ${all.length - 200} more`), !legal.length && h("span.quiet", {}, "Nothing to choose now."));
  }
  const element = h("div.stack", {}, field, list);
  return { element, show(names) { legal = names; field.hidden = legal.length <= 12; draw(); } };
}

/** A field for text answers; Enter sends, Shift+Enter is a new line. */
export function writing(play, longest) {
  const field = h("textarea", { id: "answer", maxLength: longest, rows: 3, onkeydown: (e) => { if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); } } });
  const button = h("button.main", { onclick: send }, "Send");
  function send() {
    if (play(field.value)) field.value = "";
  }
  return { element: h("div.stack", {}, h("label", { for: "answer" }, "Your answer"), field, h("div.row", {}, button, h("small", {}, "Enter sends, Shift+Enter begins a new line"))), enable: (on) => { button.disabled = !on; } };
}

/** Numbers within bounds: sliders, and for two numbers a pad to point into. play(values). */
export function sliders(play, form, live) {
  const shape = form.shape, n = shape.reduce((a, b) => a * b, 1), low = flat(form.low), high = flat(form.high);
  const bounds = [...Array(n).keys()].map((i) => [low[i] ?? -1, high[i] ?? 1]);
  const values = bounds.map(([a, b]) => Math.min(b, Math.max(a, 0)));
  const nested = (list = values, dims = shape) => (dims.length <= 1 ? (dims.length ? [...list] : list[0]) : [...Array(dims[0]).keys()].map((i) => nested(list.slice((i * list.length) / dims[0], ((i + 1) * list.length) / dims[0]), dims.slice(1))));
  const send = () => play(nested());
  const shown = bounds.map(([a, b], i) => {
    const said = h("output", {}, values[i].toFixed(2));
    const input = h("input", { type: "range", min: String(a), max: String(b), step: String((b - a) / 200), value: String(values[i]), "aria-label": `Number ${i + 1}`, oninput: () => { values[i] = Number(input.value); said.textContent = values[i].toFixed(2); point(); if (live()) send(); } });
    return { row: h("label.slide", {}, `${i + 1}`, input, said), set: (v) => { values[i] = v; input.value = v; said.textContent = v.toFixed(2); } };
  });
  const dot = h("span.dot");
  const pad = n === 2 && h("div.point", { role: "img", "aria-label": "Point here to set both numbers", onpointerdown: (e) => { pad.setPointerCapture(e.pointerId); touch(e); }, onpointermove: (e) => { if (e.buttons) touch(e); } }, dot);
  function touch(event) {
    const box = pad.getBoundingClientRect();
    const share = [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height].map((v) => Math.min(1, Math.max(0, v)));
    share.forEach((v, i) => shown[i].set(bounds[i][0] + v * (bounds[i][1] - bounds[i][0])));
    point();
    if (live()) send();
  }
  function point() {
    if (!pad) return;
    const [x, y] = [0, 1].map((i) => (values[i] - bounds[i][0]) / (bounds[i][1] - bounds[i][0]));
    dot.style.left = `${x * 100}%`;
    dot.style.bottom = `${y * 100}%`;
  }
  point();
  const button = h("button.main", { onclick: send }, "Send");
  return { element: h("div.stack", {}, pad, shown.map((s) => s.row), button), enable: (on) => { button.disabled = !on; } };
}

const flat = (value) => (Array.isArray(value) ? value.flat(Infinity) : [value]);

/** JSON for everything else, with the schema that it must fit. */
export function json(play, schema) {
  const said = h("p.error", { role: "alert" });
  const field = h("textarea.mono", { id: "answer", rows: 6, spellcheck: false }, example(schema));
  const button = h("button.main", { onclick: () => {
    try {
      play(JSON.parse(field.value));
      said.textContent = "";
    } catch (error) {
      said.textContent = `This is no JSON: ${error.message}`;
    }
  } }, "Send");
  return { element: h("div.stack", {}, h("label", { for: "answer" }, "Your answer, as JSON"), field, said, button, h("details", {}, h("summary", {}, "What it must look like"), h("pre", {}, JSON.stringify(schema, null, 1)))), enable: (on) => { button.disabled = !on; } };
}

function example(schema) {
  const make = (s) => s?.enum?.[0] ?? s?.default ?? ({ object: () => Object.fromEntries(Object.entries(s.properties || {}).map(([k, v]) => [k, make(v)])), array: () => Array(s.minItems || 0).fill(0).map(() => make(s.items)), string: () => "", integer: () => s.minimum ?? 0, number: () => s.minimum ?? 0, boolean: () => false }[s?.type]?.() ?? null);
  return JSON.stringify(make(schema), null, 1);
}
