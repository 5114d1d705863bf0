// Keys and a touch pad for actions that have names: one key map per set of names, shown, changed by its owner, kept in this browser.

import { fill, h } from "./dom.js";

const UP = ["up", "north", "forward", "top"], DOWN = ["down", "south", "backward", "bottom"];
const LEFT = ["left", "west", "turn_left"], RIGHT = ["right", "east", "turn_right"];
const REST = ["stay", "noop", "none", "idle", "wait"], USE = ["interact", "toggle", "use", "attack", "fire", "shot", "pass"];
const USUAL = [
  [UP, ["ArrowUp", "w"]], [DOWN, ["ArrowDown", "s"]], [LEFT, ["ArrowLeft", "a"]], [RIGHT, ["ArrowRight", "d"]],
  [REST, ["."]], [USE, [" "]], [["pickup"], ["e"]], [["drop"], ["q"]], [["done"], ["Enter"]],
];
const SHOWN = { ArrowUp: "\u2191", ArrowDown: "\u2193", ArrowLeft: "\u2190", ArrowRight: "\u2192", " ": "Space" };
const FREE = [..."1234567890rtfgzxcvbyhnujmikolp"];
const PLACES = [[UP, "up"], [DOWN, "down"], [LEFT, "left"], [RIGHT, "right"]];

const plainKey = (key) => (key.length === 1 ? key.toLowerCase() : key);
const words = (name) => name.replaceAll("_", " ");
export const keyName = (key) => SHOWN[key] || (key.length === 1 ? key.toUpperCase() : key);
const place = (name) => PLACES.find(([known]) => known.includes(name))?.[1];

/** Whether keys fit: few names, and at least two of them are directions. */
export const fits = (names) => names.length <= 24 && names.filter(place).length >= 2;

/** Which key plays which action. names: all actions; where: what it is kept under. */
export class KeyMap {
  constructor(names, where) {
    Object.assign(this, { names, where: `crossplay keys ${where} ${names.join(" ")}` });
    this.keys = {};
    try {
      const kept = JSON.parse(localStorage.getItem(this.where) || "{}");
      for (const [key, name] of Object.entries(kept)) if (names.includes(name)) this.keys[key] = name;
    } catch { /* what cannot be read is not kept */ }
    if (!Object.keys(this.keys).length) this.usual();
  }

  usual() {
    this.keys = {};
    for (const [known, keys] of USUAL) {
      const name = this.names.find((n) => known.includes(n) && !Object.values(this.keys).includes(n));
      if (name) for (const key of keys) this.keys[key] ??= name;
    }
    for (const name of this.names) {
      if (this.of(name).length) continue;
      const key = [...name.toLowerCase(), ...FREE].find((k) => /[a-z0-9]/.test(k) && !(k in this.keys));
      if (key) this.keys[key] = name;
    }
  }

  of(name) {
    return Object.keys(this.keys).filter((key) => this.keys[key] === name);
  }

  /** Give an action another key; the action that had it loses it. */
  set(name, key) {
    for (const old of this.of(name)) delete this.keys[old];
    this.keys[plainKey(key)] = name;
    this.keep();
  }

  reset() {
    localStorage.removeItem(this.where);
    this.usual();
  }

  keep() {
    localStorage.setItem(this.where, JSON.stringify(this.keys));
  }

  action(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return null;
    return this.keys[plainKey(event.key)] ?? null;
  }

  /** A table of all keys, each to be changed. changed() is called after it. */
  editor(changed = () => {}) {
    const body = h("tbody");
    const again = () => {
      fill(body, this.names.map((name) => h("tr", {}, h("th", { scope: "row" }, words(name)), h("td", {}, this.of(name).map((k) => [h("kbd", {}, keyName(k)), " "])), h("td", {}, this.button(name, () => { again(); changed(); })))));
    };
    again();
    return h("div.stack", {}, h("table.keys", {}, h("thead", {}, h("tr", {}, h("th", {}, "Action"), h("th", {}, "Key"), h("th", {}, h("span.hidden", {}, "Change")))), body),
      h("button", { onclick: () => { this.reset(); again(); changed(); } }, "The usual keys"));
  }

  button(name, changed) {
    const button = h("button", { "aria-label": `Another key for ${words(name)}`, onclick: () => {
      button.textContent = "Press a key";
      button.addEventListener("keydown", (event) => {
        event.preventDefault();
        event.stopPropagation();
        if (event.key !== "Escape" && event.key !== "Tab") this.set(name, event.key);
        changed();
      }, { once: true });
    } }, "Change");
    return button;
  }
}

/**
 * Keys and touch together: `press(name)` when an action begins, again by `held()` as long as it is kept down.
 * Returns {element, held() -> name or null, enable(legal names or null), refresh(), close()}.
 */
export function controls(map, press) {
  let down = null, legal = null;
  const buttons = new Map();
  const begin = (name) => {
    if (legal && !legal.includes(name)) return;
    down = name;
    flash(name);
    press(name);
  };
  const end = (name) => { if (down === name) down = null; };
  function flash(name) {
    const button = buttons.get(name);
    if (!button) return;
    button.classList.add("pressed");
    setTimeout(() => button.classList.remove("pressed"), 140);
  }
  const typing = (target) => target?.closest?.("input, textarea, select, [contenteditable], dialog");
  const onDown = (event) => {
    if (typing(event.target)) return;
    const name = map.action(event);
    if (name === null) return;
    if (event.target.closest?.("button, a, summary") && [" ", "Enter"].includes(event.key) && !event.target.closest(".pad")) return;
    event.preventDefault();
    if (!event.repeat) begin(name);
  };
  const onUp = (event) => { const name = map.action(event); if (name !== null) end(name); };
  const release = () => { down = null; };
  addEventListener("keydown", onDown);
  addEventListener("keyup", onUp);
  addEventListener("blur", release);
  const element = h("div.pad", { role: "group", "aria-label": "Actions" });
  function refresh() {
    buttons.clear();
    const cross = h("div.cross"), rest = h("div.row.rest"), taken = new Set();
    for (const name of map.names) {
      const button = h("button", {
        "aria-label": words(name),
        "data-action": name,
        onpointerdown: (event) => { event.preventDefault(); button.setPointerCapture(event.pointerId); begin(name); },
        onpointerup: () => end(name), onpointercancel: () => end(name), oncontextmenu: (event) => event.preventDefault(),
        onclick: (event) => { if (event.detail === 0) { begin(name); end(name); } }, // by Enter, or a screen reader
      }, h("span", {}, words(name)), h("kbd", {}, map.of(name).slice(0, 1).map(keyName)));
      buttons.set(name, button);
      const where = place(name);
      if (where && !taken.has(where)) { taken.add(where); button.classList.add(`to-${where}`); cross.append(button); } else rest.append(button);
    }
    fill(element, cross, rest);
    enable(legal);
  }
  function enable(names) {
    legal = names;
    for (const [name, button] of buttons) button.disabled = Boolean(names) && !names.includes(name);
  }
  refresh();
  return {
    element, refresh, enable,
    held: () => (legal && down !== null && !legal.includes(down) ? null : down),
    close: () => { removeEventListener("keydown", onDown); removeEventListener("keyup", onUp); removeEventListener("blur", release); },
  };
}
