// Inside a team: who was shown whose words, round by round, what each member said and cost, and how it was decided.

import { get, path } from "../api.js";
import { fill, h, style } from "../dom.js";
import { SIGNS, graph, spoken, standing, state, words } from "../graph.js";
import { go, keep } from "../main.js";
import { attempt, crumbs, duration, number, pathOf, tabs } from "../ui.js";

const CHANGES = {
  "right kept": ["good", "\u2713 right kept"], "right to wrong": ["bad", "\u2713\u2192\u2717 right to wrong"],
  "wrong to right": ["good", "\u2717\u2192\u2713 wrong to right"], "wrong kept": ["", "\u2717 wrong kept"],
  kept: ["", "kept"], changed: ["going", "\u2192 changed"],
};

export async function show(root, { parts: { run, episode }, query }) {
  style("rooms");
  const where = path`/runs/${run}/episodes/${episode}/team`;
  const here = path`/runs/${run}/episodes/${episode}`;
  const told = await get(where, { decision: query.decision, tick: query.decision ? null : query.tick });
  const head = [
    crumbs(["/", "Runs"], [path`/runs/${run}`, pathOf(run)], [here, `Episode ${told.episode.slice(0, 8)}`], [null, "Team"]),
    h("h1", {}, "Inside the team"),
    h("p.quiet", {}, `${told.lineup} in ${told.env}, block ${told.block}`, told.role ? `, ${told.role}` : "", told.metric in told.score ? `. ${told.metric} ${number(told.score[told.metric])}` : ""),
  ];
  if (!told.decision) {
    fill(root, head, h("p", {}, "No team played in this episode, so there is nobody inside a seat to look at."), h("p", {}, h("a", { href: here }, "To the episode")));
    return undefined;
  }
  const view = new View(run, episode, told, query);
  fill(root, head, told.truth && h("p.quiet", {}, `Whether answers are right is not known: ${told.truth}.`), view.chooser(), view.element);
  view.draw();
  const keys = (event) => view.key(event);
  document.addEventListener("keydown", keys);
  return () => document.removeEventListener("keydown", keys);
}

class View {
  constructor(run, episode, told, query) {
    Object.assign(this, { run, episode, told, d: told.decision });
    this.round = Math.max(0, Math.min(this.d.rounds - 1, query.round === undefined ? this.d.rounds - 1 : Number(query.round) || 0));
    const picked = query.member === undefined ? -1 : Number(query.member);
    this.picked = picked >= 0 && picked < this.d.members.length ? picked : null;
    this.stage = h("div.team-graph");
    this.said = h("div.team-posts");
    this.stepper = h("div.row.stepper");
    this.grid = h("div");
    this.live = h("p.quiet", { "aria-live": "polite" });
    const { d } = this;
    this.element = h("div", {},
      d.question && h("details", { open: d.question.length < 600 }, h("summary", {}, "What was asked"), h("pre", { tabIndex: 0, "aria-label": "What was asked" }, d.question)),
      h("div.team-two", {}, h("section.team-left", { "aria-label": "Who spoke to whom" }, this.stepper, this.stage, this.live, legend(d)), h("section.team-right", { "aria-label": "What was said in this round" }, this.said)),
      h("h2", {}, "Answers by round"), this.grid,
      tabs([["vote", "Vote", () => this.vote()], ["cost", "Cost", () => this.cost()], ["transcript", "Transcript", () => this.transcript()]], query.tab || "vote", (tab) => keep({ tab: tab === "vote" ? "" : tab }), "About the decision"));
  }

  /** Where several decisions were made: which one. */
  chooser() {
    const all = this.told.decisions;
    const at = all.findIndex((one) => one.key === this.d.key);
    const name = (one) => `Tick ${one.tick}, ${one.seat}: ${one.team}${one.outer ? " (inside a team)" : ""}${one.decided ? `: ${one.decided.slice(0, 40)}` : ""}${sign(one.right)}`;
    const to = (key) => go(`${location.pathname}?${new URLSearchParams({ decision: key })}`);
    const facts = [this.d.team, this.d.protocol && `protocol ${this.d.protocol}`, this.d.topology && `topology ${this.d.topology}`, `${this.d.members.length} members`, this.d.rounds === 1 ? "1 round" : `${this.d.rounds} rounds (0 to ${this.d.rounds - 1})`].filter(Boolean).join(", ");
    const outer = this.d.outer && h("button", { onclick: () => to(this.d.outer) }, "To the team around it");
    if (all.length === 1) return h("p", {}, facts);
    const choice = h("select", { "aria-label": "Decision", onchange: () => to(choice.value) }, all.map((one) => h("option", { value: one.key, selected: one.key === this.d.key }, name(one))));
    return h("div.stack", {}, h("div.row.chooser", {},
      h("button", { disabled: at <= 0, onclick: () => to(all[at - 1].key) }, "Decision before"), choice,
      h("button", { disabled: at >= all.length - 1, onclick: () => to(all[at + 1].key) }, "Decision after"), outer), h("p", {}, facts));
  }

  /** Arrow keys step through the rounds, unless something else wants them. */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest?.("input, select, textarea, [role=tab]") || event.target.matches?.(".scroll.wide, pre")) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); this.to(this.round + by); }
    if (event.key === "Escape" && this.picked !== null) this.pick(this.picked);
  }

  to(round) {
    if (round < 0 || round >= this.d.rounds || round === this.round) return;
    this.round = round;
    keep({ round });
    this.draw();
  }

  pick(member) {
    this.picked = this.picked === member ? null : member;
    keep({ member: this.picked });
    this.draw(true);
  }

  draw(again = false) {
    const { d, round } = this;
    const place = again ? [...this.stage.querySelectorAll("g.member")].indexOf(document.activeElement) : -1;
    const slider = h("input", { type: "range", min: 0, max: d.rounds - 1, value: String(round), "aria-label": "Round", "aria-valuetext": `round ${round} of ${d.rounds - 1}`, oninput: () => this.to(Number(slider.value)) });
    if (!this.stepper.contains(document.activeElement) || document.activeElement.type !== "range") {
      fill(this.stepper,
        h("button", { disabled: round === 0, "aria-label": "Round before", onclick: () => this.to(round - 1) }, "\u25c0"),
        h("strong.nowrap", {}, `Round ${round}`, d.rounds > 1 && h("span.quiet.light", {}, ` of ${d.rounds - 1}${round ? "" : ", the first words"}`)),
        h("button", { disabled: round === d.rounds - 1, "aria-label": "Next round", onclick: () => this.to(round + 1) }, "\u25b6"),
        d.rounds > 2 && h("span.slide", {}, slider), d.rounds > 1 && h("small.quiet.wide-only", {}, "or the arrow keys"));
    } else fill(this.stepper.querySelector("strong"), `Round ${round}`, h("span.quiet.light", {}, ` of ${d.rounds - 1}${round ? "" : ", the first words"}`));
    fill(this.stage, graph(d, round, this.picked, (i) => this.pick(i)));
    if (place >= 0) this.stage.querySelectorAll("g.member")[place]?.focus();
    this.live.textContent = words(d, round);
    const posts = d.posts.filter((p) => p.round === round && (this.picked === null || p.member === this.picked));
    fill(this.said,
      h("h2", {}, this.picked === null ? `What was said in round ${round}` : `${d.members[this.picked].name} in round ${round}`),
      this.picked !== null && h("button", { onclick: () => this.pick(this.picked) }, "Show all members"),
      posts.length ? posts.map((p) => this.post(p)) : h("p.quiet", {}, this.picked === null ? "Nobody was asked in this round." : "It was not asked in this round."));
    fill(this.grid, this.answers());
  }

  /** One post as a card. */
  post(p) {
    const { d } = this;
    const seen = [...new Set([...p.sees, ...p.told])].map((id) => d.posts.find((q) => q.id === id)).filter(Boolean);
    const sums = p.calls.reduce((a, c) => ({ tok_in: a.tok_in + c.tok_in, tok_out: a.tok_out + c.tok_out, cpu: a.cpu + (c.cpu_s || 0), usd: c.usd === null ? null : a.usd === null ? null : a.usd + c.usd }), { tok_in: 0, tok_out: 0, cpu: 0, usd: 0 });
    const cost = p.calls.length ? [`${number(sums.tok_in)} tokens in`, `${number(sums.tok_out)} out`, sums.cpu ? `${number(sums.cpu, 2)} CPU s` : "", sums.usd ? `${number(sums.usd, 5)} USD` : ""].filter(Boolean).join(", ") : "";
    return h("article.panel.post", { id: `post-${p.id}` },
      h("div.row.apart", {}, h("strong", {}, d.members[p.member].name), h("span.quiet", {}, p.act, p.adopted !== null ? ` (took over post ${p.adopted})` : "")),
      p.fault ? h("p.error", {}, `No answer: ${p.fault}`) : p.words && h("p.answer", {}, h("strong", {}, p.words), " ", p.right !== null && h("span.badge", { class: p.right ? "good" : "bad" }, p.right ? "\u2713 right" : "\u2717 wrong"), " ", change(p)),
      p.score !== null && p.right === null && h("p.quiet", {}, `score ${number(p.score)}`),
      p.confidence !== null && sure(p.confidence),
      p.text && p.text !== p.words && h("p.said", {}, p.text),
      h("p.quiet.fine", {}, seen.length ? ["was shown ", seen.map((q, i) => [i ? ", " : "", h("a", { href: `#post-${q.id}`, onclick: (e) => { e.preventDefault(); this.picked = null; this.to(q.round); document.getElementById(`post-${q.id}`)?.scrollIntoView({ block: "center" }); } }, `${q.member === p.member ? "its own" : d.members[q.member].name}${q.round === p.round ? "" : `, round ${q.round}`}`)])] : "was shown nobody's words"),
      h("p.quiet.fine", {}, cost && [cost, " \u00b7 "], h("a", { href: `${path`/runs/${this.run}/episodes/${this.told.episode}`}?step=${d.tick}` }, `tick ${d.tick} of the episode`), h("span", {}, " \u00b7 step "), h("code", {}, p.step)),
      p.inside && h("p", {}, h("a", { href: `?${new URLSearchParams({ decision: p.inside })}` }, "Look inside this team")),
      p.calls.some((c) => c.call) && this.prompts(p));
  }

  /** What a model was shown, fetched when it is opened. */
  prompts(p) {
    const inside = h("div");
    let asked = false;
    const open = async () => {
      if (asked) return;
      asked = true;
      fill(inside, h("p.quiet", {}, "Loading ..."));
      try {
        const found = await get(path`/runs/${this.run}/episodes/${this.told.episode}/calls`, { tick: this.d.tick, seat: this.d.seat });
        const mine = found.calls.filter((c) => p.calls.some((one) => one.call === c.key));
        fill(inside, mine.length ? mine.map((c) => [c.missing && h("p.error", {}, c.missing), (c.prompt || []).map((m) => [h("h3", {}, m.role), h("pre.wrap", {}, m.text), m.images?.length ? h("p.quiet", {}, `and ${m.images.length} pictures`) : null]), h("h3", {}, "answered"), h("pre.wrap", {}, c.answer || c.error)]) : h("p.quiet", {}, "The run does not keep this call."));
      } catch (error) {
        fill(inside, h("p.error", {}, error.message));
      }
    };
    return h("details", { ontoggle: (e) => { if (e.target.open) open(); } }, h("summary", {}, "What its model was shown, word for word"), inside);
  }

  /** Members by rounds. */
  answers() {
    const { d } = this;
    const rounds = Array.from({ length: d.rounds }, (_, r) => r);
    const cell = (i, r) => {
      const mine = d.posts.filter((p) => p.member === i && p.round === r);
      const p = mine.filter((q) => q.answer).at(-1) || mine.at(-1);
      if (!p) return h("td.quiet", {}, "\u2013");
      const how = p.answer ? state(p, p) : p.fault ? "fault" : "answered";
      return h(`td${r === this.round ? ".now" : ""}`, {}, h("button.cell", { "aria-label": `${d.members[i].name}, round ${r}`, onclick: () => { if (this.picked !== i) this.picked = i; keep({ member: i, round: r }); if (this.round === r) this.draw(); else { this.round = r; this.draw(); } } }, h(`span.sign.is-${how}`, {}, SIGNS[how]), " ", p.fault ? "no answer" : clip(p.words || p.act, 28)), p.confidence !== null && h("small.quiet", {}, ` ${number(100 * p.confidence, 0)} % sure`), p.change && h("div", {}, change(p)));
    };
    return h("div.scroll", {}, h("table.rounds", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Member"), rounds.map((r) => h(`th${r === this.round ? ".now" : ""}`, { scope: "col", "aria-current": r === this.round ? "true" : null }, h("button", { onclick: () => this.to(r) }, `Round ${r}`))))),
      h("tbody", {}, d.members.map((m, i) => h("tr", {}, h("th", { scope: "row" }, m.name, !m.present && h("small.quiet", {}, " (left out)")), rounds.map((r) => cell(i, r)))),
        h("tr", {}, h("th", { scope: "row" }, "Distinct answers"), rounds.map((r) => h("td.quiet", {}, String(new Set(standing(d, r).filter(Boolean).map((p) => p.words)).size)))))));
  }

  vote() {
    const v = this.d.vote;
    if (!v) return h("p.quiet", {}, "No decision was recorded.");
    const most = Math.max(...v.tally.map(Math.abs), 1e-9);
    const voters = this.ballots();
    const outcome = v.why ? h("p.error", {}, `No decision: ${v.why}.`) : h("p", {}, "Decided: ", h("strong", {}, v.decided || "not told in the record"), " ", v.right !== null && h("span.badge", { class: v.right ? "good" : "bad" }, v.right ? "\u2713 right" : "\u2717 wrong"), v.rule && ` by ${v.rule}`, v.tied && h("span.badge.flag", {}, "tied; chance decided"), v.otherwise && h("span.badge.flag", {}, `${v.rule} found no winner; another rule decided`));
    return h("div", {}, outcome,
      v.first && h("p.quiet", {}, `The first answers alone, by plurality: ${v.first}${sign(v.first_right)}`, v.first !== v.decided && v.decided ? ". Talking changed the decision." : "."),
      v.candidates.length > 0 && h("div.scroll", {}, h("table.tally", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Answer"), h("th.number", { scope: "col", colSpan: 2 }, "Counted"), h("th", { scope: "col" }, "Voted for it"))), h("tbody", {}, v.candidates.map((c, i) => h("tr", {}, h("th", { scope: "row" }, clip(c, 60), " ", i === v.winner && h("span.badge.going", {}, "wins")), h("td.number", {}, number(v.tally[i])), h("td.bar", {}, bar((v.tally[i] || 0) / most)), h("td", {}, voters[i].join(", "))))))),
      h("p.quiet", {}, `${v.valid} valid ballots`, v.rejected ? `, ${v.rejected} rejected` : "", "."));
  }

  /** Candidate -> names of the members who stood for it, as far as ballots are the last answers. */
  ballots() {
    const last = standing(this.d, this.d.rounds - 1);
    return this.d.vote.candidates.map((c) => this.d.members.filter((_, i) => last[i]?.words === c).map((m) => m.name));
  }

  cost() {
    const { members } = this.d;
    const has = (name) => members.some((m) => m[name]);
    const columns = [["posts", "Posts"], has("faults") && ["faults", "No answer"], ["spoken", "Words"], has("calls") && ["calls", "Calls"], has("tok_in") && ["tok_in", "Tokens in"], has("cached") && ["cached", "Of them cached"], has("tok_out") && ["tok_out", "Tokens out"], has("usd") && ["usd", "Price (USD)", 5], has("cpu_s") && ["cpu_s", "CPU time", "s"], has("wall_s") && ["wall_s", "Time", "s"]].filter(Boolean);
    const said = (v, n) => (v === null ? "not known" : n === "s" ? duration(v) : number(v, n ?? 0));
    const total = (name) => { const known = members.map((m) => m[name]).filter((v) => v !== null); return known.length ? known.reduce((a, b) => a + b, 0) : null; };
    return h("div", {}, h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Member"), h("th", { scope: "col" }, "Share of the words"), columns.map(([, t]) => h("th.number", { scope: "col" }, t)))),
      h("tbody", {}, members.map((m) => h("tr", {}, h("th", { scope: "row" }, m.name, h("small.quiet", {}, ` ${[m.kind, ...m.models].filter(Boolean).join(", ")}`)), h("td.bar", {}, m.share === null ? "" : [bar(m.share), h("small", {}, ` ${number(m.share * 100, 0)} %`)]), columns.map(([k, , n]) => h("td.number", {}, said(m[k], n))))),
        h("tr.sum", {}, h("th", { scope: "row" }, "All"), h("td"), columns.map(([k, , n]) => h("td.number", {}, said(total(k), n))))))),
    !has("calls") && h("p.quiet", {}, "No model was called: these members are scripts."));
  }

  transcript() {
    const { d } = this;
    return h("div.stack", {}, Array.from({ length: d.rounds }, (_, r) => [h("h3", {}, `Round ${r}`), d.posts.filter((p) => p.round === r).map((p) => h("div.line", {}, h("span.who", {}, d.members[p.member].name), h("div", {}, p.fault ? h("span.error", {}, `no answer: ${p.fault}`) : [h("strong", {}, clip(p.words, 200)), p.right !== null && sign(p.right), p.text && p.text !== p.words ? ` ${p.text}` : ""], h("div.quiet.fine", {}, p.act, p.change ? `, ${p.change}` : "", ", ", h("a", { href: `${path`/runs/${this.run}/episodes/${this.told.episode}`}?step=${d.tick}` }, `tick ${d.tick}`), ", step ", h("code", {}, p.step)))))]));
  }
}

const clip = (text, n) => (text.length > n ? `${text.slice(0, n - 1)}\u2026` : text);
const sign = (right) => (right === null || right === undefined ? "" : right ? " \u2713" : " \u2717");
const bar = (share) => { const inner = h("span"); inner.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`; return h("span.meter", { "aria-hidden": "true" }, inner); };
const sure = (c) => h("p.row.sure", {}, h("small.quiet", {}, `${number(c * 100, 0)} % sure`), bar(c));
const change = (p) => (p.change ? h("span.badge", { class: CHANGES[p.change]?.[0] }, CHANGES[p.change]?.[1] || p.change) : null);

function legend(d) {
  const known = d.posts.some((p) => p.right !== null);
  const items = known ? [["right", "right"], ["wrong", "wrong"]] : [["answered", "has answered"]];
  return h("p.quiet.fine.legend", {}, [...items, ["silent", "nothing yet"], ["fault", "no answer"]].map(([k, t]) => h("span", {}, h(`span.sign.is-${k}`, {}, SIGNS[k]), ` ${t}`)), h("span", {}, "\u2192 was shown the words"), d.links.length ? h("span", {}, "\u22ef may hear") : null);
}
