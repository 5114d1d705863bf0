// Fields made from JSON schema: no form here knows what it is about. Every field has a place, a path of keys; what is
// wrong with the place is shown at the field that lies nearest to it.

import { fill, h } from "./dom.js";

const UNITS = { s: "seconds", ms: "milliseconds", usd: "USD", hz: "Hz", mb: "MB" };

/** The name of a setting as words: "wall_s" -> "Wall (seconds)". title: what its schema calls it. */
export function worded(name, title = "") {
  if (title) return title;
  const parts = String(name).split(/[_\s]+/), unit = parts.length > 1 && UNITS[parts.at(-1).toLowerCase()];
  const said = (unit ? parts.slice(0, -1) : parts).join(" ");
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}${unit ? ` (${unit})` : ""}`;
}

const key = (place) => JSON.stringify(place);
let counted = 0;

/** The fields of a page by their places. */
export class Fields {
  constructor() {
    this.all = new Map();
  }

  clear() {
    this.all.clear();
  }

  /** The field of a place, or of the place around it that has one. */
  near(place) {
    for (let n = place.length; n > 0; n--) {
      const found = this.all.get(key(place.slice(0, n)));
      if (found?.input.isConnected) return found;
    }
    return null;
  }

  /** Whether a value is shown: at its own place, or by a field that holds all that lies below. */
  shows(place) {
    for (let n = place.length; n > 0; n--) {
      const found = this.all.get(key(place.slice(0, n)));
      if (found && (n === place.length || found.whole)) return true;
    }
    return false;
  }

  /** Say at each field what is wrong with it. */
  say(problems) {
    for (const { input, note } of this.all.values()) {
      input.removeAttribute("aria-invalid");
      note.textContent = "";
    }
    for (const problem of problems) {
      const found = this.near(problem.place);
      if (!found) continue;
      found.input.setAttribute("aria-invalid", "true");
      found.note.textContent = problem.text;
    }
  }

  /** A field with its label. make(attributes) -> an input, with what stands above and beside it; whole: it shows all that lies below. */
  add(place, label, make, { about = "", inline = false, whole = false } = {}) {
    const id = `f${++counted}`;
    const note = h("p.error.note", { id: `${id}-note` });
    const help = about ? h("small.help", { id: `${id}-help` }, about) : null;
    const input = make({ id, "aria-describedby": `${id}-note${help ? ` ${id}-help` : ""}` });
    this.all.set(key(place), { input, note, whole });
    const title = h("label", { for: id, title: `In the file: ${place.join(".")}` }, label);
    const parts = inline ? [h("span.row.tick", {}, input, title)] : [title, input.above, input, input.beside];
    return h("div.field", { "data-place": place.join(".") }, parts, help, note);
  }
}

/** A select of [value, text] or values; "" stands for what is not set. */
export function choose(attributes, options, value, changed) {
  const list = options.map((o) => (Array.isArray(o) ? o : [o, o]));
  if (value && !list.some(([v]) => v === value)) list.push([value, value]);
  const found = h("select", { ...attributes, onchange: () => changed(found.value || undefined) }, list.map(([v, text, off]) => h("option", { value: v, disabled: Boolean(off) }, text)));
  found.value = value ?? "";
  return found;
}

/** A text field; `changed` hears every letter. options: words that are offered, others may be typed too. */
export function type(attributes, value, changed, options = null) {
  const list = options ? h("datalist", { id: `${attributes.id}-list` }, options.map((o) => h("option", { value: o }))) : null;
  const found = h("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes, ...(list ? { list: list.id } : {}), value: value ?? "", oninput: () => changed(found.value === "" ? undefined : found.value) });
  found.beside = list; // an input cannot hold its datalist
  return found;
}

/** A number field. */
export function count(attributes, schema, value, changed) {
  const whole = schema.type === "integer";
  const found = h("input", {
    type: "number", inputmode: whole ? "numeric" : "decimal", step: whole ? "1" : "any", ...attributes,
    min: schema.minimum === undefined ? null : String(schema.minimum), max: schema.maximum === undefined ? null : String(schema.maximum),
    placeholder: schema.default === undefined || schema.default === null ? "" : String(schema.default),
    value: value === undefined || value === null ? "" : String(value),
    oninput: () => changed(found.value === "" ? (found.validity.badInput ? "?" : undefined) : Number(found.value)),
  });
  return found;
}

export function tick(attributes, value, changed) {
  const found = h("input", { type: "checkbox", ...attributes, onchange: () => changed(found.checked) });
  found.checked = Boolean(value);
  return found;
}

const words = (text) => text.split(",").map((t) => t.trim()).filter(Boolean);

/** Whether a value can be shown by the field of its schema. */
function fits(schema, value) {
  if (value === undefined || value === null) return true;
  if (schema.enum) return typeof value !== "object";
  if (schema.type === "boolean") return typeof value === "boolean";
  if (schema.type === "object") return false;
  if (schema.type === "array") return Array.isArray(value) && value.every((v) => typeof v !== "object");
  return typeof value !== "object";
}

/**
 * The field of one property of a schema, or null where only text can show the value.
 * known: {agents, models, protocols, topologies}: names that are offered where the schema says what it holds.
 */
export function property(fields, place, name, schema, value, changed, known = {}) {
  const told = typeof schema.default === "string" && schema.default && !schema.enum && !schema.holds;
  const about = `${schema.description || ""}${told ? ` (default: ${schema.default})` : ""}`;
  const add = (make, more = {}) => fields.add(place, known.words?.[name] || worded(name, schema.title), make, { about, whole: schema.type === "array", ...more });
  if (schema.holds === "protocol" || schema.holds === "topology") return named(add, schema, value, changed, known[`${schema.holds === "protocol" ? "protocols" : "topologies"}`] || []);
  if (!fits(schema, value)) return null;
  if (schema.enum) return add((a) => choose(a, [["", `default${schema.default === undefined || schema.default === null ? "" : `: ${schema.default === "" ? "none" : schema.default}`}`], ...schema.enum.filter((e) => e !== "").map((e) => [String(e), String(e)])], value === undefined ? "" : String(value), (v) => changed(schema.enum.find((e) => String(e) === v))));
  if (schema.type === "boolean") return add((a) => tick(a, value ?? schema.default, changed), { inline: true });
  if (schema.type === "integer" || schema.type === "number") return add((a) => count(a, schema, value, changed));
  if (schema.type === "array" && schema.holds === "agent") return add((a) => members(a, value || [], changed, known.agents || []));
  if (schema.type === "array") {
    const numbers = ["number", "integer"].includes(schema.items?.type);
    return add((a) => type({ ...a, placeholder: numbers ? "1, 2, 3" : "one, two" }, (value || []).join(", "), (text) => changed(text === undefined ? undefined : words(text).map((w) => (numbers ? Number(w) : w)))));
  }
  if (schema.holds === "model") return add((a) => type(a, value, changed, known.models || []));
  if (schema.holds === "agent") return add((a) => type(a, value, changed, known.agents || []));
  if (schema.type === "string") return add((a) => type(a, value, changed));
  return add((a) => type(a, value, (text) => changed(read(text)))); // nothing is known of it
}

/** Text as the number it writes, else as it is. */
function read(text) {
  return text !== undefined && text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** A protocol or topology: a name, whose settings (a table) are kept. */
function named(add, schema, value, changed, names) {
  const table = value && typeof value === "object";
  return add((a) => choose(a, [["", schema.default ? `default: ${schema.default}` : "as the protocol says"], ...names], table ? value.name : value, (name) => changed(table && name ? { ...value, name } : name)));
}

/** A list of agents: each with a button that takes it away, and a select that adds one. */
function members(attributes, value, changed, names) {
  const list = h("span.chips");
  const add = h("select", { ...attributes }, h("option", { value: "" }, "add one ..."), names.map((n) => h("option", { value: n }, n)));
  let now = [...value];
  const draw = () => fill(list, now.map((one, i) => h("button.chip", { type: "button", "aria-label": `take ${one} away`, onclick: () => set(now.filter((_, k) => k !== i)) }, one, " \u00d7")));
  const set = (next) => {
    now = next;
    draw();
    changed(now.length ? now : undefined);
  };
  add.addEventListener("change", () => {
    if (add.value) set([...now, add.value]);
    add.value = "";
  });
  draw();
  add.above = list;
  return add;
}

/** All fields of an object schema. skip: names that are shown elsewhere. Values that need text are left to it. */
export function properties(fields, place, schema, values, changed, known = {}, skip = []) {
  const found = [];
  for (const [name, one] of Object.entries(schema.properties || {})) {
    if (skip.includes(name)) continue;
    const field = property(fields, [...place, name], name, one, values[name], (value) => changed(name, value), known);
    if (field) found.push(field);
  }
  return found;
}

/** The paths of all values in plain data. */
export function leaves(data, place = []) {
  if (data === null || typeof data !== "object") return [place];
  const inside = Array.isArray(data) ? data.map((v, i) => [i, v]) : Object.entries(data);
  return inside.length ? inside.flatMap(([k, v]) => leaves(v, [...place, k])) : [];
}
