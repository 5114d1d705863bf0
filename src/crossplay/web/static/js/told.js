// The trace of a tick and the calls of a tick as elements: moves, words, faults, thoughts, prompts and answers.

import { h } from "./dom.js";
import { duration, number } from "./ui.js";

const body = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** "return 120, soups 6": the study's metric first. */
export function score(head, most = 3) {
  const seats = Array.isArray(head.seats) ? head.seats.map((s) => s.seat) : Object.keys(head.seats);
  const rank = (k) => (k === head.metric ? 0 : seats.some((s) => k.startsWith(`${s}_`)) ? 2 : 1); // what concerns all before what concerns one seat
  const all = Object.keys(head.score).sort((a, b) => rank(a) - rank(b));
  const names = rank(all[0]) < 2 && most < 4 ? all.filter((k) => rank(k) < 2) : all;
  return names.slice(0, most).map((k) => `${k} ${head.score[k] === null ? "not known" : number(head.score[k])}`).join(", ");
}

/** How a move came about: the agent's own, or what was served in its place. */
export function origin(move) {
  if (move.origin === "own") return h("span.quiet", {}, "own");
  if (move.origin === "held") return h("span.badge", {}, "held: nothing new in time");
  return h("span.badge.flag", {}, `fallback: ${move.origin}`);
}

/** A tick of the trace. chosen: the seat that is looked at; choose(seat): another one. */
export function happened(tick, head, { chosen = "", choose = () => {} } = {}) {
  const seated = Object.entries(tick.seated);
  return [
    tick.tick > 0 && seated.length > 0 && h("p", {}, seated.map(([s, a]) => `${s} is handed over to ${a}. `)),
    tick.moves.length > 0 && h("div.scroll", {}, h("table.moves", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Seat"), h("th", { scope: "col" }, "Move"), h("th", { scope: "col" }, "Origin"), h("th.number", { scope: "col" }, "Reward"), h("th.number", { scope: "col" }, "Time"), spends(head) && h("th.number", { scope: "col" }, "Tokens"))),
      h("tbody", {}, tick.moves.map((m) => moved(m, tick, chosen, choose, spends(head)))))),
    tick.faults.map((f) => h("p.fault", {}, h("span.badge.bad", {}, `\u2715 ${f.kind}`), ` ${f.seat}: ${f.detail || "no detail"}`, f.served && f.served !== "begin" && ` (served: ${f.served})`)),
    tick.late.map((l) => h("p.fault", {}, h("span.badge.flag", {}, "late answer"), ` ${l.seat}: ${l.detail}`)),
    [["Said", tick.said], ["Delivered", tick.heard]].map(([title, list]) => list.length > 0 && [h("h3", {}, title), h("ul.words", {}, list.map((m) => h("li", {}, h("strong", {}, `${m.src} \u2192 ${m.dst === "*" ? "all" : m.dst}`), m.tick !== tick.tick && h("small.quiet", {}, ` (of tick ${m.tick})`), ` ${body(m.body)}`)))]),
    tick.moves.filter((m) => m.rationale || m.confidence !== null).map((m) => h("blockquote.why", {}, h("strong", {}, m.seat), m.confidence !== null && h("small.quiet", {}, ` is ${number(100 * m.confidence, 0)} % sure`), m.rationale && h("div", {}, m.rationale))),
    inside(tick, head),
    tick.ended && h("p", {}, h("strong", {}, "The end: "), `${{ terminal: "the rules ended it", horizon: "the last tick" }[tick.ended] || tick.ended}. ${score(head, 6)}.`),
    !tick.moves.length && !tick.ended && h("p.quiet", {}, "No moves at this tick."),
  ];
}

/** Whether anything in this episode called a model: the table keeps its columns from tick to tick. */
const spends = (head) => Boolean(head.marks?.call?.length || head.marks?.post?.length);

function moved(m, tick, chosen, choose, paid) {
  const spent = spentBy(m, tick);
  const reward = tick.rewards?.[m.seat];
  return h("tr", { class: m.seat === chosen ? "chosen" : null },
    h("td", {}, h("button.plain", { onclick: () => choose(m.seat), title: `What ${m.seat} saw` }, m.seat), h("small.quiet", {}, ` ${m.agent}`)),
    h("td.move", {}, m.action), h("td", {}, origin(m)),
    h("td.number", {}, reward === undefined ? "" : reward ? h("strong", {}, (reward > 0 ? "+" : "") + number(reward)) : "0"),
    h("td.number", {}, m.wall_ms ? duration(m.wall_ms / 1000) : ""), paid && h("td.number", {}, spent));
}

function spentBy(move, tick) {
  const mine = [move, ...tick.inside.filter((i) => i.seat === move.seat)];
  const [ins, outs] = ["tok_in", "tok_out"].map((k) => mine.reduce((sum, m) => sum + m[k], 0));
  return ins || outs ? `${number(ins)} in, ${number(outs)} out` : "";
}

/** Posts of a team's members, votes and other notes (calls are shown with their prompts below). */
function inside(tick, head) {
  const rows = tick.inside.filter((i) => i.kind !== "model" || !i.call);
  if (!rows.length) return null;
  return [h("h3", {}, "Inside the seats"), h("ul.words", {}, rows.map((i) => {
    const { text, member, act, value, confidence, rule, ...rest } = i.data && typeof i.data === "object" && !Array.isArray(i.data) ? i.data : { text: body(i.data) };
    const answer = !rest.side && Number.isInteger(value) && head.actions[i.seat]?.[value]; // a choice, by its name as moves have it
    return h("li", {}, h("span.badge", {}, i.kind), " ", h("strong", {}, member ?? i.seat), i.path.length > 0 && h("small.quiet", {}, ` at ${i.path.join(".")}`), act && ` ${act}`, rule && ` by ${body(rule)}`,
      value !== undefined && h("span", {}, `: ${answer || body(value)}`), confidence !== undefined && confidence !== null && h("small.quiet", {}, ` (${number(100 * confidence, 0)} % sure)`), text && h("div.saying", {}, body(text)),
      i.partial && h("small.quiet", {}, " (did not come in time)"), Object.keys(rest).length > 0 && h("details", {}, h("summary", {}, "All that was noted"), h("pre", {}, JSON.stringify(i.data, null, 1))));
  }))];
}

const BORROWED = { shared: "an equal request of this run was answered before; nothing was sent", hit: "the answer of another cassette", given: "put there by hand" };

/** Prompt and answer of each call of a tick. tick: its trace, which knows the members of teams by their place. */
export function prompts(calls, tick) {
  if (!calls.length) return null;
  const few = calls.length <= 2; // of many, the answers are seen at once and the prompts are folded
  const member = (c) => tick.inside.find((i) => i.kind === "post" && i.seat === c.seat && i.path.join() === c.path.join())?.data?.member;
  return [h("h2", {}, calls.length === 1 ? "What was asked and answered" : `What was asked and answered (${calls.length} calls)`), calls.map((c) => {
    const facts = [
      c.borrowed ? BORROWED[c.borrowed] : c.wait_ms !== null && `answered after ${duration(c.wait_ms / 1000)}`, (c.tok_in > 0 || c.tok_out > 0) && `${number(c.tok_in)} tokens in, ${number(c.tok_out)} out`,
      c.cached > 0 && `${number(c.cached)} of them from the endpoint's cache`, c.finish && `ended by ${c.finish}`, c.sent > 1 && `sent ${c.sent} times`, c.doubtful > 0 && `${c.doubtful} sendings possibly paid twice`,
    ].filter(Boolean).join("; ");
    return h("section.panel.call", {},
      h("h3", {}, `${c.seat}${member(c) && member(c) !== c.seat ? `, ${member(c)}` : ""}: ${c.kind === "model" ? "" : `${c.kind} `}${c.name}`, c.path.length > 0 && h("small.quiet", {}, ` at ${c.path.join(".")}`)), h("p.quiet", {}, facts),
      c.missing && h("p.quiet", {}, `The prompt is not known: ${c.missing}.`),
      c.prompt.map((m, i) => h("details.turn", { open: few && i === c.prompt.length - 1 }, h("summary", {}, m.role), h("pre.saying", { tabIndex: 0, "aria-label": m.role }, m.text), m.images.map(([high, wide]) => h("small.quiet", {}, `with a picture of ${wide} x ${high} pixels`)), m.tool_calls.length > 0 && h("pre", {}, JSON.stringify(m.tool_calls, null, 1)))),
      c.arguments !== null && h("pre.saying", {}, body(c.arguments)),
      h("div.answer", {}, h("small", {}, c.error ? "No answer" : "Answer"), h("pre.saying", { tabIndex: 0, "aria-label": "Answer", class: c.error ? "error" : null }, c.error || c.answer || "(empty)"), c.wanted.length > 0 && h("pre", {}, JSON.stringify(c.wanted, null, 1))),
      Object.keys(c.settings).length > 0 && h("details", {}, h("summary", {}, "Settings"), h("dl.facts", {}, Object.entries(c.settings).map(([k, v]) => [h("dt", {}, k), h("dd", {}, body(v))]))));
  })];
}
