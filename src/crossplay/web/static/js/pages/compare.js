// Several episodes of one block in lock-step: the same tick of each beside the others, and where they part.

import { get, path } from "../api.js";
import { fill, h, style } from "../dom.js";
import { go as goTo, keep } from "../main.js";
import { Player, Trace, frame } from "../player.js";
import { Screen } from "../screen.js";
import { scrub } from "../scrub.js";
import { origin, score } from "../told.js";
import { crumbs, number, pathOf } from "../ui.js";

// Names stand between commas in the address; those that hold one, or a %, are written as in a path.
const list = (text) => (text ? text.split(",").filter(Boolean).map((name) => (/%2C|%25/.test(name) ? decodeURIComponent(name) : name)) : []);
const written = (name) => (/[,%]/.test(name) ? name.replaceAll("%", "%25").replaceAll(",", "%2C") : name);

export async function show(root, { parts, query }) {
  style("episode");
  const { run } = parts;
  const found = await get(path`/runs/${run}/compare`, { block: query.block, env: query.env, lineups: list(query.lineups), replicates: list(query.replicates), episodes: list(query.episodes) });
  const last = Math.max(...found.lanes.map((l) => l.ticks));
  let tick = Math.min(Number(query.step) || 0, last), turn = 0;
  const lanes = found.lanes.map((l, i) => lane(run, l, found, i));

  /** The same tick in all lanes; resolves when all of them show it. */
  async function shown(now) {
    tick = now;
    bar.at(tick);
    const ticks = await Promise.all(lanes.map((l) => l.at(tick)));
    if (now === tick) lanes.forEach((l, i) => l.tell(ticks[i], ticks[0]));
  }
  let gone = false; // the address is another page's then
  const rest = () => gone || keep({ step: tick });
  const look = (t) => { const mine = ++turn; return shown(t).then(() => mine === turn && rest()); };
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  async function play(from, speed) {
    const mine = ++turn, began = performance.now();
    for (let t = from; ; ) {
      await Promise.all([shown(t), frame()]);
      if (mine !== turn) return;
      if (t >= last) break;
      const due = began + ((t + 1 - from) * 1000) / speed;
      if (due > performance.now()) await pause(due - performance.now());
      if (mine !== turn) return;
      t = Math.min(last, Math.max(t + 1, from + Math.floor(((performance.now() - began) * speed) / 1000)));
    }
    bar.playing(false);
    rest();
  }

  const bar = scrub({ last, marks: found.at.length ? { apart: found.at } : {}, go: look, play, stop: () => { turn++; rest(); } });
  const one = found.lanes[0];
  fill(root,
    crumbs(["/", "Runs"], [path`/runs/${run}`, pathOf(run)], [null, "Compare"]),
    h("h1", {}, `Block ${found.block}, side by side`),
    h("p.quiet", {}, `${found.env}. The others are compared with ${named(one, found)}. Moves that differ from its own are marked with \u2260.`),
    choice(run, found, query), parted(found, (t) => { bar.playing(false); look(t); }),
    bar.element, h("div.lanes", {}, lanes.map((l) => l.element)), differences(found));
  lanes.forEach((l) => l.begin());
  await shown(tick);
  return () => { gone = true; turn++; bar.close(); lanes.forEach((l) => l.close()); };
}

const named = (lane, found) => lane.lineup + (found.choices.replicates.length > 1 ? `, replicate ${lane.replicate}` : "");

function lane(run, it, found, index) {
  const canvas = h("canvas", { role: "img", "aria-label": `The world of ${it.lineup}`, hidden: true });
  const words = h("pre.world", { tabIndex: 0, hidden: true, "aria-label": `The world of ${it.lineup} in words` });
  const stage = h("div.stage", {}, canvas, words), said = h("div"), open = h("a", {}, "Open this step");
  const screen = new Screen(canvas, { tallest: 420 }), trace = new Trace(run, it.id);
  const note = h("p.quiet", {});
  const player = new Player(run, it.id, {
    told: ({ parted }) => { if (parted) note.textContent = parted; },
    why: (text) => { note.textContent = `No pictures: ${text}`; },
  });
  const element = h("section.panel.lane", { "aria-label": named(it, found) },
    h("h2", {}, h("a", { href: path`/runs/${run}/episodes/${it.id}` }, named(it, found))),
    h("small.quiet", {}, Object.entries(it.seats).map(([s, a]) => `${s}: ${a}`).join(", "), ". ", score({ ...it, metric: found.metric }), "."), it.role && h("span.badge", {}, it.role),
    stage, note, said, open);
  return {
    element,
    begin: () => { if (it.replayed) player.watch([{ item: "world", screen: { show: (m) => { canvas.hidden = false; return screen.show(m); } }, text: (t) => { words.hidden = false; words.textContent = t; } }]); else player.why(it.why_not); },
    at: async (tick) => { const now = Math.min(tick, it.ticks); return (await Promise.all([trace.tick(now), it.replayed ? player.show(now) : null]))[0]; },
    tell: (tick, first) => {
      if (!tick) return fill(said);
      const theirs = index && first ? Object.fromEntries(first.moves.map((m) => [m.seat, m.action])) : {};
      const apart = tick.moves.some((m) => theirs[m.seat] !== undefined && theirs[m.seat] !== m.action);
      element.classList.toggle("apart", apart);
      open.href = `${path`/runs/${run}/episodes/${it.id}`}?step=${tick.tick}`;
      fill(said, h("ul.acts", {},
        tick.moves.map((m) => { const other = theirs[m.seat] !== undefined && theirs[m.seat] !== m.action; return h("li", { class: other ? "other" : null }, other ? "\u2260 " : "", `${m.seat}: ${m.action} `, m.origin === "own" ? null : origin(m)); }),
        tick.said.map((m) => h("li", {}, `${m.src} says: ${typeof m.body === "string" ? m.body : JSON.stringify(m.body)}`)),
        h("li.quiet", {}, `rewards so far: ${sums(it.paid, tick.tick)}`),
        tick.tick >= it.ticks && h("li.over", {}, `Over at tick ${it.ticks}: ${{ terminal: "the rules ended it", horizon: "the last tick" }[it.status] || it.status}.`)));
    },
    close: () => { player.close(); screen.close(); },
  };
}

/** Sums of the rewards before the moves of a tick. */
function sums(paid, tick) {
  const now = Object.entries(paid).map(([seat, list]) => [seat, list.findLast(([t]) => t < tick)?.[1] ?? 0]);
  const same = now.every(([, v]) => v === now[0][1]);
  return same ? number(now[0][1]) : now.map(([s, v]) => `${s} ${number(v)}`).join(", ");
}

/** Where each lane parts from the first. */
function parted(found, jump) {
  const rows = found.lanes.filter((l) => l.apart);
  if (!rows.length) return h("p.panel", {}, "Choose a second lineup above to see where the two part.");
  const at = (tick) => (tick === null || tick === undefined ? "never" : h("button.plain", { onclick: () => jump(tick) }, `tick ${tick}`));
  return h("section", {}, h("h2", {}, `Where they part from ${named(found.lanes[0], found)}`), h("div.scroll", {}, h("table", {},
    h("thead", {}, h("tr", {}, ["Lineup", "First difference", "First other move", "State", "Rewards", "Other moves"].map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", {}, rows.map(({ apart, ...l }) => h("tr", {}, h("th", { scope: "row" }, named(l, found)), h("td", {}, at(apart.first)),
      h("td", {}, Object.entries(apart.moves).length ? Object.entries(apart.moves).map(([s, t]) => [h("span.nowrap", {}, `${s}: `, at(t)), " "]) : "never"), h("td", {}, at(apart.state)), h("td", {}, at(apart.rewards)),
      h("td.nowrap", {}, `${Object.entries(apart.other_moves).map(([s, n]) => `${s} at ${n}`).join(", ") || "none"} of ${apart.ticks} ticks`)))))));
}

const WORDS = { move: "moves", words: "says", reward: "rewards", state: "the state is another one", end: "ends" };

function differences(found) {
  return found.lanes.filter((l) => l.apart?.differences.length).map((l) => h("details", {}, h("summary", {}, `All differences of ${named(l, found)}`),
    h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, ["Tick", "What", named(found.lanes[0], found), named(l, found)].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, l.apart.differences.map((d) => h("tr", {}, h("td", {}, h("a", { href: `${path`/runs/${found.run}/episodes/${l.id}`}?step=${d.tick}` }, d.tick)), h("td", {}, `${d.seat} ${WORDS[d.kind]}`), h("td", {}, d.kind === "state" ? "" : d.one), h("td", {}, d.kind === "state" ? "" : d.other)))))),
    l.apart.more > 0 && h("p.quiet", {}, `${number(l.apart.more)} more are not listed; the bar above marks all ticks with other moves.`)));
}

/** What is compared, to be changed. */
function choice(run, found, query) {
  const { envs, blocks, lineups, replicates } = found.choices;
  const picked = (kind, all, on, label = (v) => v) => h("fieldset.choice", {}, h("legend.quiet", {}, kind), all.map((v) => h("label.inline", {}, h("input", { type: "checkbox", name: kind, value: String(v), checked: on.includes(v) }), label(v))));
  const select = (name, all, on) => h("label.inline", {}, name, h("select", { name }, all.map((v) => h("option", { value: v, selected: v === on }, v))));
  const said = h("p.error", { role: "alert" });
  const form = h("form.stack", {
    onsubmit: (event) => {
      event.preventDefault();
      const chosen = new FormData(form), lines = chosen.getAll("Lineups"), reps = chosen.getAll("Replicates");
      const count = lines.length * Math.max(1, reps.length);
      if (count < 2 || count > 8) { said.textContent = `Choose 2 to 8 episodes; these are ${count}.`; return; }
      // The first lane stays first: the others are compared with it.
      const first = found.lanes[0].lineup;
      lines.sort((a, b) => (b === first) - (a === first));
      const asked = new URLSearchParams({ block: chosen.get("Block"), lineups: lines.map(written).join(",") });
      if (reps.length) asked.set("replicates", reps.join(","));
      if (envs.length > 1) asked.set("env", chosen.get("Environment"));
      goTo(`${path`/runs/${run}/compare`}?${asked}`);
    },
  }, h("div.row", {}, envs.length > 1 && select("Environment", envs, found.env), select("Block", blocks, found.block)),
    picked("Lineups", lineups, found.lanes.map((l) => l.lineup)), replicates.length > 1 && picked("Replicates", replicates, found.lanes.map((l) => l.replicate)), said, h("button.main", {}, "Compare"));
  return h("details", { open: found.lanes.length < 2 }, h("summary", {}, "Compare others"), form);
}
