// The bar under a replay: slider, step, play at a speed, jumps to the ticks worth a look, and the same by keys.

import { drawing, fill, h } from "./dom.js";

export const SPEEDS = [1, 2, 5, 10, 20, 30, 60];
/** Kinds of marks: [words, the key that jumps to the next one, its sign]. */
export const KINDS = {
  apart: ["difference", "d", "\u2260"], fallback: ["fallback", "f", "\u25b2"], held: ["held move", "h", "\u25cb"], fault: ["fault", "x", "\u2715"],
  reward: ["reward", "r", "\u2605"], message: ["message", "m", "\u2709"], call: ["model call", "c", "\u25cf"], post: ["post", "p", "\u25c6"],
  handoff: ["hand-over", "o", "\u21c4"], late: ["late answer", "l", "\u25f7"],
};

/**
 * last: the last tick. marks: {kind: [ticks]}. go(tick): show it. play(from, speed): begin; stop(): end.
 * Returns {element, at(tick), playing(on), going(), marks(marks), last(tick), close()}.
 */
export function scrub({ last, marks = {}, speed = 10, go, play, stop }) {
  let tick = 0, on = false;
  const slider = h("input", { type: "range", min: 0, max: last, step: 1, "aria-label": "Tick", oninput: () => move(Number(slider.value)) });
  const field = h("input", { type: "number", min: 0, max: last, "aria-label": "Tick, as a number", onchange: () => move(Number(field.value) || 0) });
  const total = h("span.quiet", {}, `of ${last}`);
  const chosen = h("select", { "aria-label": "Speed", onchange: () => on && begin() }, SPEEDS.map((s) => h("option", { value: String(s), selected: s === speed }, `${s} a second`)));
  const runs = h("button.main", { onclick: () => (on ? halt() : begin()) });
  const strip = h("div.marks", { onclick: (e) => { const box = strip.getBoundingClientRect(); move(Math.round(((e.clientX - box.left) / box.width) * last)); } });
  const jumps = h("div.row.jumps");
  const step = (name, by, words) => h("button", { onclick: () => move(by === -Infinity ? 0 : by === Infinity ? last : tick + by), "aria-label": words, title: words }, name);

  function move(to) {
    halt();
    tick = Math.max(0, Math.min(last, to));
    shown();
    go(tick);
  }
  function begin() {
    if (tick >= last) tick = 0;
    playing(true);
    play(tick, Number(chosen.value));
  }
  function halt() {
    if (!on) return;
    playing(false);
    stop();
  }
  function playing(now) {
    if (on === now && runs.firstChild) return;
    on = now;
    fill(runs, on ? "Pause" : "Play");
    runs.setAttribute("aria-pressed", on);
  }
  function shown() {
    slider.value = tick;
    slider.setAttribute("aria-valuetext", `tick ${tick} of ${last}`);
    field.value = tick;
    for (const button of jumps.children) button.disabled = next(button.value, 1) === undefined;
  }
  /** The next or last tick of a kind; the first one again after the last. */
  function next(kind, direction) {
    const list = marks[kind] || [];
    if (direction > 0) return list.find((t) => t > tick) ?? list.find((t) => t !== tick);
    return list.findLast((t) => t < tick) ?? list.findLast((t) => t !== tick);
  }
  function jump(kind, direction) {
    const to = next(kind, direction);
    if (to !== undefined) move(to);
  }
  function marked(found) {
    marks = found;
    const kinds = Object.keys(KINDS).filter((k) => marks[k]?.length);
    fill(jumps, kinds.map((k) => h("button", { value: k, class: `jump m-${k}`, onclick: () => jump(k, 1), title: `Next ${KINDS[k][0]} (key ${KINDS[k][1]}, with Shift the one before)` },
      h("span.sign", { "aria-hidden": "true" }, KINDS[k][2]), ` Next ${KINDS[k][0]} `, h("small", {}, marks[k].length))));
    const rows = kinds.map((k, i) => marks[k].map((t) => `<rect class="m-${k}" x="${t}" y="${i * 6}" width="1" height="5"/>`).join(""));
    if (!kinds.length) return fill(strip);
    const width = Math.max(last, 1) + 1;
    fill(strip, drawing(`<svg xmlns="http://www.w3.org/2000/svg" class="strip" viewBox="0 0 ${width} ${kinds.length * 6}" preserveAspectRatio="none" aria-hidden="true">${rows.join("")}</svg>`));
    strip.style.height = `${kinds.length * 6}px`;
  }
  function key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest?.("input:not([type=range]), textarea, select, dialog") || e.target.matches?.(".scroll.wide, pre")) return; // those scroll by the same keys
    const kind = Object.keys(KINDS).find((k) => KINDS[k][1] === e.key.toLowerCase());
    const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (by && !e.target.closest?.("[role=tab]")) move(tick + by * (e.shiftKey ? 10 : 1));
    else if (e.key === "Home") move(0);
    else if (e.key === "End") move(last);
    else if (e.key === " " && !e.target.closest?.("button, a, summary")) on ? halt() : begin();
    else if (kind && marks[kind]?.length) jump(kind, e.shiftKey ? -1 : 1);
    else return;
    e.preventDefault();
  }
  document.addEventListener("keydown", key);
  marked(marks);
  playing(false);
  shown();
  const element = h("section.scrub", { "aria-label": "Replay" },
    h("div.row", {}, h("span.row.tight", {}, step("|\u25c0", -Infinity, "First tick"), step("\u25c0", -1, "One tick back"), runs, step("\u25b6", 1, "One tick on"), step("\u25b6|", Infinity, "Last tick")),
      h("label.inline", {}, "Speed", chosen), h("label.inline", {}, "Tick", field, total)),
    h("div.track", {}, strip, slider), jumps,
    h("details", {}, h("summary", {}, "Keys"), h("p.quiet", {}, "Arrow keys: one tick (with Shift ten). Home, End. Space: play and pause. ", Object.values(KINDS).map(([words, k]) => `${k}: next ${words}. `), "With Shift: the one before.")));
  return {
    element, playing, going: () => on, marks: (found) => { marked(found); shown(); },
    at: (now) => { tick = now; shown(); },
    last: (n) => { last = n; slider.max = field.max = n; fill(total, `of ${n}`); marked(marks); shown(); },
    close: () => { halt(); document.removeEventListener("keydown", key); },
  };
}
