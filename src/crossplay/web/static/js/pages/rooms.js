// Rooms to play in: those there are, and a new one.

import { get, path, post } from "../api.js";
import { calm, fill, h, style } from "../dom.js";
import { attempt, number, tell } from "../ui.js";
import { invitation } from "./play.js";

const STATES = { waiting: "waits for people", starting: "begins", playing: "plays", between: "between two games", over: "over", stopped: "closed", left: "was cut off" };

/** A clock in words: "wait", "deadline:20", "tick:5". */
function pace(clock) {
  const [kind, n] = String(clock).split(":");
  return { wait: "the game waits", deadline: `${n} s for a move`, tick: `${n} ticks a second` }[kind] || clock;
}

export async function show(root) {
  style("play");
  const list = h("div.stack"), made = h("div.stack", { "aria-live": "polite" });
  fill(root, h("h1", {}, "Play"), h("p", {}, "Sit down in any environment, alone beside agents or with other people. What is played is recorded like any run."), made, h("h2", {}, "Rooms"), list, h("h2", {}, "A new room"), await form(made, again));
  async function again() {
    try {
      const { rooms } = await get("/rooms");
      fill(list, rooms.length ? rooms.map((r) => card(r, again)) : h("p.quiet", {}, "No rooms yet. Make one below."));
    } catch (error) {
      fill(list, h("p.error", {}, error.message));
    }
  }
  await again();
  const timer = setInterval(() => { if (!root.contains(document.activeElement) || !list.contains(document.activeElement)) again(); }, 4000);
  return () => clearInterval(timer);
}

function card(room, again) {
  const open = !["over", "stopped", "left"].includes(room.status);
  const act = (where, body = {}) => async (e) => { await attempt(() => post(where, body), e.target); again(); };
  return h("article.panel.room", { "data-room": room.room },
    h("div.row.apart", {}, h("h3", {}, open ? h("a", { href: `/play/${room.room}` }, room.title) : room.title), h("span.badge", { class: room.status === "playing" ? "going" : room.status === "left" ? "flag" : "" }, STATES[room.status])),
    h("p.quiet", {}, `${room.environment} \u00b7 ${pace(room.clock)}`, room.status === "playing" ? ` \u00b7 game ${room.episode} of ${room.episodes}, tick ${room.tick}` : "", room.seats.length ? ` \u00b7 ${room.seats.map((s) => `${s.seat}: ${s.who}${s.who === "person" ? (s.here ? " (here)" : " (not here)") : ""}`).join(", ")}` : "", room.late?.ticks ? ` \u00b7 ticks ${number(room.late.p99_ms, 1)} ms late at most in 99 of 100` : ""),
    room.why && h("p.quiet", {}, room.why),
    room.unkept && h("p.error", {}, room.unkept),
    room.results.length > 0 && h("p", {}, "Results: ", room.results.map((r) => `game ${r.episode}: ${Object.entries(r.score).slice(0, 1).map(([k, v]) => `${k} ${number(v)}`).join("")}`).join("; ")),
    h("div.row", {}, open && h("a.button", { href: `/play/${room.room}` }, "Look in"), room.status === "left" && h("button.main", { onclick: act(path`/rooms/${room.room}/resume`) }, "Go on with it"), open && h("button", { onclick: act(path`/rooms/${room.room}/close`, { final: true }) }, "Close"), h("a.button", { href: `/runs/${encodeURIComponent(room.run)}` }, "The run")));
}

async function form(made, again) {
  const choices = await get("/play-choices");
  const names = Object.entries(choices.environments).flatMap(([family, list]) => (list.length ? list.map((n) => (n ? `${family}/${n}` : family)) : [family]));
  const env = h("input", { id: "env", list: "envs", value: "kitchen/cramped_room", required: true, autocomplete: "off", oninput: calm(look, 300) });
  const options = h("textarea.mono", { id: "options", rows: 2, spellcheck: false, oninput: calm(look, 400) }, "{}");
  const seats = h("div.stack"), about = h("p.quiet"), problem = h("p.error", { role: "alert" });
  const clock = h("select", { id: "clock", onchange: () => { speed.hidden = clock.value === "wait"; speed.value = clock.value === "tick" ? "5" : "20"; unit.textContent = { wait: "", deadline: "seconds for a move", tick: "ticks a second" }[clock.value]; } }, h("option", { value: "wait" }, "the game waits for everybody"), h("option", { value: "deadline" }, "a deadline for each move"), h("option", { value: "tick" }, "it goes on by itself"));
  const speed = h("input", { type: "number", min: "0.1", step: "any", value: "5", hidden: true, "aria-label": "seconds or ticks" }), unit = h("span.quiet");
  const field = (id, label, element) => h("div", {}, h("label", { for: id }, label), element);
  const block = h("input", { id: "block", type: "number", value: "0", step: "1" }), root = h("input", { id: "root", type: "number", value: "0", step: "1" }), games = h("input", { id: "games", type: "number", value: "1", min: "1", max: "1000", step: "1" });
  const title = h("input", { id: "title", maxLength: 200 }), study = h("input", { id: "study", maxLength: 100 }), consent = h("textarea", { id: "consent", rows: 3 });
  const takeover = h("input", { type: "checkbox", id: "takeover" }), blind = h("input", { type: "checkbox", id: "blind" });
  const kinds = h("datalist", { id: "kinds" }, ["person", ...choices.agents.filter((a) => !["llm", "vlm", "team", "equal", "single", "relay", "verified"].includes(a)), ...choices.models.flatMap((m) => [`llm:${m}`])].map((k) => h("option", { value: k })));
  let looked = null, asked = 0;
  function read() {
    try { return JSON.parse(options.value || "{}"); } catch (error) { throw new Error(`Options are no JSON: ${error.message}`); }
  }
  async function look() {
    const mine = ++asked;
    try {
      const found = await post("/play-look", { environment: env.value.trim(), options: read() });
      if (mine !== asked) return;
      const before = Object.fromEntries([...seats.querySelectorAll("input")].map((i) => [i.dataset.seat, i.value]));
      looked = found;
      problem.textContent = "";
      about.textContent = `${found.seats.length} seat${found.seats.length > 1 ? "s" : ""}; shown as ${found.views.join(", ")}${found.horizon ? `; at most ${found.horizon} ticks` : ""}. Options: ${Object.keys(found.schema.properties || {}).join(", ") || "none"}.`;
      fill(seats, found.seats.map((s, i) => h("div.row.seat", {}, h("label", { for: `seat-${i}` }, s.seat), h("input", { id: `seat-${i}`, list: "kinds", "data-seat": s.seat, value: before[s.seat] ?? (i === 0 ? "person" : found.expert || "random"), required: true, autocomplete: "off" }))));
    } catch (error) {
      if (mine === asked) problem.textContent = error.message;
    }
  }
  await look();
  return h("form.stack.panel.new-room", { onsubmit: async (event) => {
    event.preventDefault();
    await attempt(async () => {
      const whole = (i) => Math.trunc(Number(i.value) || 0);
      const filled = Object.fromEntries([...seats.querySelectorAll("input")].map((i) => [i.dataset.seat, i.value.trim()]));
      const found = await post("/rooms", { environment: env.value.trim(), options: read(), clock: clock.value === "wait" ? "wait" : `${clock.value}:${Number(speed.value)}`, seats: filled, block: whole(block), root: whole(root), episodes: Math.max(1, whole(games)), title: title.value, study: study.value, consent: consent.value, takeover: takeover.checked ? "people" : "owner", blind: blind.checked });
      fill(made, h("section.panel.stack.made", {}, h("h2", {}, "The room is open"), h("p", {}, found.invites.length ? "Give each person the link of their seat. It is shown once." : "Nobody is asked for: agents play all seats."), found.invites.map(invitation), h("div.row", {}, h("a.button", { href: `/play/${found.room.room}` }, "Watch and manage"))));
      tell("The room is open.");
      made.scrollIntoView({ block: "start", behavior: "smooth" });
      await again();
    }, event.submitter);
  } },
  h("datalist", { id: "envs" }, names.map((n) => h("option", { value: n }))), kinds,
  field("env", "Environment", env), about, problem,
  h("fieldset", {}, h("legend", {}, "Who sits where (\u201cperson\u201d, or the type of an agent)"), seats),
  h("div.row", {}, h("label", { for: "clock" }, "Clock"), clock, speed, unit),
  h("div.row", {}, field("games", "Games", games), field("block", "First block", block), field("root", "Root seed", root)),
  h("details", {}, h("summary", {}, "More"), h("div.stack", {}, field("title", "Title, shown to people", title), field("study", "Name of the run", study), field("options", "Options of the environment, as JSON", options), field("consent", "Text that people agree to before they play", consent), h("label.inline", { for: "takeover" }, takeover, "people may take seats from agents"), h("label.inline", { for: "blind" }, blind, "people are not told which agents play"))),
  h("div.row", {}, h("button.main", {}, "Open the room")));
}
