// One episode: scrub, play, step; what each seat saw; what was said, thought, asked and paid at each tick.

import { get, link, path } from "../api.js";
import { calm, fill, h, style } from "../dom.js";
import { keep } from "../main.js";
import { Player, Trace, frame } from "../player.js";
import { Screen } from "../screen.js";
import { scrub } from "../scrub.js";
import { sheet } from "../sheets.js";
import { crumbs, duration, many, number, pathOf, tell } from "../ui.js";
import { happened, prompts, score } from "../told.js";

const ORDER = ["image", "text of skills", "text", "data", "array"];
const NAMES = { image: "Picture", text: "Text", "text of skills": "Text of skills", data: "Data", array: "Array" };

export async function show(root, { parts, query }) {
  style("episode");
  const { run } = parts;
  const head = await get(path`/runs/${run}/episodes/${parts.episode}`);
  const base = path`/runs/${run}/episodes/${head.id}`;
  let tick = Math.min(Number(query.step) || 0, head.ticks);
  let seat = head.seats.some((s) => s.seat === query.seat) ? query.seat : head.seats[0].seat;
  const trace = new Trace(run, head.id);
  let panels = [];

  // -- what the server draws -----------------------------------------------------------------------------
  const note = h("p.error", { role: "alert" });
  const player = new Player(run, head.id, {
    told: (said) => {
      if (said.parted) note.textContent = said.parted;
      if (said.drift !== undefined && !note.textContent) note.textContent = `From tick ${said.drift} on the state differs in its last digits from the recorded one: it was played with another processor or other packages.`;
      if (said.playing || said.tick !== tick || said.parted) arrived(said.tick);
      bar.playing(said.playing);
      if (!said.playing) rest();
    },
    why: (text) => { fill(stage, h("p.panel", {}, `No pictures and views: ${text} The trace below is complete without them.`)); fill(sees); },
  });
  const canvas = h("canvas", { role: "img", "aria-label": "The world" });
  const worldText = h("pre.world", { tabIndex: 0, "aria-label": "The world in words" });
  const stage = h("div.stage", {}, canvas, worldText);
  const world = new Screen(canvas);
  canvas.hidden = worldText.hidden = true;

  function watch() {
    const items = [{ item: "world", screen: { show: (m) => { canvas.hidden = false; return world.show(m); } }, text: (t) => { worldText.hidden = false; worldText.textContent = t; } }];
    for (const p of panels) if (p.open()) items.push({ item: `${seat}:${p.name}`, screen: { show: p.picture }, text: p.text });
    return player.watch(items, bar.going() ? null : tick);
  }

  /** The views of the seat that is looked at, the one that its agent was given most often first. */
  function views() {
    for (const p of panels) p.screen?.close();
    const mine = head.seats.find((s) => s.seat === seat);
    const names = [...new Set([...mine.given, ...head.views])].filter((v) => ORDER.includes(v));
    names.sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
    panels = names.map(panel);
    fill(sees, mine.team && !mine.given.length && h("p.quiet", {}, "A team sits here. What each of its members was given stands with the calls below, and ", h("a", { href: `${base}/team` }, "inside the team"), "."),
      h("div.views", {}, panels.map((p) => p.element)));
    return watch();
  }

  function panel(name) {
    const badge = h("span.badge.good", { hidden: true }, "\u2713 given to the agent");
    const box = name === "image" ? h("canvas", { role: "img", "aria-label": `What ${seat} sees` }) : h("pre.view", { tabIndex: 0, "aria-label": `${NAMES[name]} of ${seat}` });
    const body = h("div.viewbox", {}, box);
    const omits = head.omits[name] && h("small.quiet", {}, `Leaves out: ${head.omits[name]}`);
    const folded = name === "array";
    const element = folded
      ? h("details.panel.viewcard", { ontoggle: () => watch() }, h("summary", {}, NAMES[name], " ", badge), body, omits)
      : h("section.panel.viewcard", {}, h("h3", {}, NAMES[name], " ", badge), body, omits);
    const screen = name === "image" ? new Screen(box, { tallest: 360 }) : null;
    return {
      name, element, screen, open: () => !folded || element.open,
      picture: (message) => screen?.show(message), text: (text) => { if (!screen) box.textContent = text; else fill(body, h("pre.view", {}, text)); },
      given: (on) => { badge.hidden = !on; element.classList.toggle("given", on); },
    };
  }

  // -- what the trace says ----------------------------------------------------------------------------------
  const said = h("section.panel.told", { "aria-label": "What happened at this tick" });
  const asked = h("div");
  const tickTitle = h("h2", {}, "Tick 0");
  let latest = 0, coming = null;

  /** A tick is on the screen: the trace beside it and the bar follow, as fast as the browser draws. */
  function arrived(now) {
    tick = now;
    coming ??= frame().then(() => { coming = null; return draw(); });
    return coming;
  }
  async function draw() {
    const mine = ++latest;
    bar.at(tick);
    const found = await trace.tick(tick).catch((error) => { tell(error.message, "bad"); return null; });
    if (mine !== latest) return;
    fill(tickTitle, tick >= head.ticks ? `After the last move (tick ${tick})` : `Tick ${tick}`);
    canvas.setAttribute("aria-label", `The world at tick ${tick}`);
    fill(said, tickTitle, found ? happened(found, head, { chosen: seat, choose }) : h("p.quiet", {}, "Nothing is recorded for this tick."));
    const view = found?.moves.find((m) => m.seat === seat)?.view;
    for (const p of panels) p.given(p.name === view);
    fill(asked);
  }

  /** It stands still: the address keeps the place, prompts and answers are read. */
  const rest = calm(async () => {
    keep({ step: tick, seat });
    const now = tick, found = await trace.tick(now).catch(() => null);
    if (!found?.inside.some((i) => i.call) || now !== tick) return;
    try {
      const { calls } = await get(`${base}/calls`, { tick: now });
      if (now === tick) fill(asked, prompts(calls, found));
    } catch (error) {
      fill(asked, h("p.error", {}, error.message));
    }
  }, 120);

  function choose(name) {
    if (name === seat) return;
    seat = name;
    for (const tab of seats.children) { const on = tab.value === seat; tab.setAttribute("aria-selected", on); tab.tabIndex = on ? 0 : -1; }
    if (head.replayed) views();
    arrived(tick);
    rest();
  }

  // -- the bar ------------------------------------------------------------------------------------------------
  let timer = 0; // where there are no pictures, the page itself goes on from tick to tick
  const bar = scrub({
    last: head.ticks, marks: head.marks,
    go: (t) => { arrived(t); if (head.replayed) player.show(t); else rest(); },
    play: (from, speed) => {
      if (head.replayed) return player.play(from, head.ticks, speed);
      arrived(from);
      timer = setInterval(() => { if (tick >= head.ticks) { clearInterval(timer); bar.playing(false); rest(); } else arrived(tick + 1); }, 1000 / speed);
    },
    stop: () => { clearInterval(timer); player.stop(); rest(); },
  });

  // -- the page -------------------------------------------------------------------------------------------------
  const seats = h("div", { role: "tablist", "aria-label": "Seats" }, head.seats.map((s, i) => h("button", {
    role: "tab", value: s.seat, "aria-selected": String(s.seat === seat), tabIndex: s.seat === seat ? 0 : -1, onclick: () => choose(s.seat),
    onkeydown: (e) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (!by) return;
      const to = seats.children[(i + by + head.seats.length) % head.seats.length];
      to.focus();
      choose(to.value);
    },
  }, `${s.seat} (${s.agent})`)));
  sheet(seats);
  const sees = h("div");
  const ended = { terminal: "the rules ended it", horizon: "it came to the last tick" }[head.status] || head.status;
  const team = head.seats.some((s) => s.team);
  fill(root,
    crumbs(["/", "Runs"], [path`/runs/${run}`, pathOf(run)], [path`/runs/${run}/episodes`, "Episodes"], [null, head.id.slice(0, 8)]),
    h("h1", {}, `${head.lineup}, block ${head.block}${head.replicate ? `, replicate ${head.replicate}` : ""}`),
    h("p.quiet", {}, head.group !== head.lineup && `Lineup ${head.group}. `, `${head.env}: ${many(head.ticks, "tick")}; ${ended}${head.detail ? ` (${head.detail})` : ""}. Scores: ${score(head)}. `,
      head.role && h("span.badge", {}, head.role), head.practice && h("span.badge.flag", {}, "practice, counts in no table")),
    h("p.row", {}, h("a.button", { href: `${path`/runs/${run}/compare`}?episodes=${head.id}` }, "Compare with others of this block"),
      team && h("a.button", { href: `${path`/runs/${run}/episodes/${head.id}`}/team` }, "Inside the team")),
    bar.element, note,
    h("div.scene", {}, stage, said),
    head.replayed && h("h2", {}, "What each seat saw"), head.replayed && seats, sees,
    asked, about(head));
  if (!head.replayed) player.why(head.why_not);
  const seen = head.replayed ? views() : rest();
  await arrived(tick);
  await Promise.race([seen, new Promise((done) => setTimeout(done, 5000))]); // some worlds take long to begin
  return () => { clearInterval(timer); bar.close(); player.close(); for (const p of [...panels, { screen: world }]) p.screen?.close(); };
}

function about(head) {
  return h("details", {}, h("summary", {}, "About this episode"),
    h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, ["Seat", "Agent", "Kind", "Sum of rewards", "Counted"].map((t, i) => h(i === 3 ? "th.number" : "th", { scope: "col" }, t)))),
      h("tbody", {}, head.seats.map((s) => h("tr", {}, h("th", { scope: "row" }, s.seat), h("td", {}, s.agent), h("td", {}, s.kind), h("td.number", {}, number(s.total)), h("td", {}, Object.entries(s.counts).map(([k, n]) => `${k} ${number(n)}`).join(", "))))))),
    h("dl.facts", {}, [
      ["Scores", Object.entries(head.score).map(([k, v]) => h("div", { title: head.metrics[k] || "" }, `${k}: ${number(v)}`, head.metrics[k] && h("small", {}, ` (${head.metrics[k]})`)))],
      ["Episode", h("code", {}, head.id)], ["Environment", h("code", {}, head.env_id)], ["Root seed", head.root], ["Attempt", head.attempt], ["Took", duration(head.wall_s)],
      ["World digest", h("code", {}, head.world)], ["Mind digest", h("code", {}, head.mind)],
      head.replayed && ["First picture", h("a", { href: link(path`/runs/${head.run}/episodes/${head.id}/frame.png`, { tick: 0, scale: 2 }), download: `${head.id}-0.png` }, "PNG")],
    ].filter(Boolean).map(([k, v]) => [h("dt", {}, k), h("dd", {}, v)])));
}
