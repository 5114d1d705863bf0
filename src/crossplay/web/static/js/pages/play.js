// A room: the waiting room, the game as one seat may know it, the end. Without a seat's token: the owner's view of it.

import { get, path, post, socket } from "../api.js";
import { board, isBoard, json, moves, sliders, writing } from "../board.js";
import { fill, h, style } from "../dom.js";
import { controls, fits, KeyMap } from "../keys.js";
import { go } from "../main.js";
import { Screen } from "../screen.js";
import { talk } from "../talk.js";
import { attempt, number, tell } from "../ui.js";

const ENDS = { 1008: "This link is not valid (any more).", 4001: "The seat was handed back to its agent.", 4002: "This seat was opened in another place; it goes on there.", 4003: "Another link was made for this seat.", 4005: "The seat was given to an agent." };
const HOW = { terminal: "The rules ended it.", horizon: "It came to its last tick.", void: "It does not count: an agent's connection was lost. It is played again.", "env-fault": "The environment failed; this game has no score." };
const ended = (status) => HOW[status] || (status.startsWith("forfeit:") ? `${status.slice(8)} gave no move that could be played, and forfeits.` : status);
const words = (name) => String(name).replaceAll("_", " ");

/** link: the part of its link behind "#", where a page shows a game inside of its own. */
const COMPOSED = ["llm", "vlm", "team", "equal", "single", "relay", "verified"]; // types that need more than their name

export async function show(root, { parts, owner, link = location.hash.slice(1) }) {
  style("play");
  const given = new URLSearchParams(link);
  const seat = given.get("seat"), token = given.get("token");
  if (!seat && !owner) {
    fill(root, h("h1", {}, "A seat needs its link"), h("p", {}, "Open the link that you were given: it names your seat and lets you in."));
    return null;
  }
  const page = new Page(root, parts.room, { seat, token, owner });
  page.connect();
  return () => page.close();
}

class Page {
  constructor(root, room, who) {
    Object.assign(this, { root, room, ...who, told: null, state: null, over: false, tries: 0, sent: null, ending: null, result: null });
    this.notice = h("p.notice", { role: "status", "aria-live": "polite" });
    this.title = h("h1", {}, "Play");
    this.facts = h("p.quiet.facts-line");
    this.clock = h("div.countdown", { hidden: true });
    this.canvas = h("canvas", { "aria-label": "The game as your seat sees it", role: "img" });
    this.picture = h("div.picture", { hidden: true }, this.canvas);
    this.text = h("pre.view", { hidden: true, tabIndex: 0, "aria-label": "The game in words" });
    this.data = h("pre.view", { hidden: true, tabIndex: 0, "aria-label": "What your seat may know, as data" });
    this.action = h("div.action");
    this.more = h("div.stack");
    this.lobby = h("section.lobby.stack");
    this.people = h("ul.people");
    this.side = h("aside.stack");
    this.talk = talk((text, to) => this.say({ say: text, to }));
    this.views = h("div.row");
    this.screen = new Screen(this.canvas, { tallest: Math.max(240, innerHeight * 0.52) });
    fill(root, this.title, this.facts, this.notice, h("div.table", {}, h("div.stack.stage", {}, this.lobby, this.clock, this.picture, this.text, this.action, this.data), this.side));
    this.screen.watch.observe(this.picture);
    this.timer = setInterval(() => this.tick(), 100);
  }

  // -- the connection ---------------------------------------------------------------------------------------
  connect() {
    this.line = socket(path`/ws/play/${this.room}`);
    const wanted = this.wanted || ["image"];
    this.line.onopen = () => {
      if (this.tries) this.say_notice("");
      this.tries = 0;
      this.line.send(JSON.stringify(this.seat ? { seat: this.seat, token: this.token, views: wanted } : { watch: true, views: ["image", "text"] }));
    };
    this.line.onmessage = ({ data }) => {
      let told = data;
      if (typeof data !== "string") {
        // A moment: u8 2, three zeros, u32 length of the JSON, JSON, picture.
        const size = new DataView(data).getUint32(4, true);
        told = new TextDecoder().decode(new Uint8Array(data, 8, size));
        if (data.byteLength > 8 + size) {
          this.picture.hidden = false;
          this.screen.show(data.slice(8 + size)).catch(() => null);
        }
      }
      const message = JSON.parse(told);
      this[`on_${message.kind}`]?.(message);
    };
    this.line.onclose = ({ code, reason }) => {
      if (this.gone) return;
      if (this.over || code in ENDS) {
        if (code in ENDS) this.end(ENDS[code]);
        return;
      }
      this.tries++;
      this.say_notice(code === 4404 ? "The room is not open (now). This page tries again by itself." : reason && code === 4429 ? reason : "The connection is lost. This page tries again by itself; your seat is kept.");
      this.again = setTimeout(() => this.connect(), Math.min(5000, 400 * 2 ** this.tries));
    };
  }

  say(message) {
    if (this.line?.readyState !== WebSocket.OPEN) return false;
    this.line.send(JSON.stringify(message));
    return true;
  }

  close() {
    this.gone = true;
    clearInterval(this.timer);
    clearTimeout(this.again);
    this.keys?.close();
    this.screen.close();
    this.line?.close();
  }

  end(why) {
    this.over = true;
    this.say_notice(why);
    fill(this.lobby);
    this.enable(false);
  }

  say_notice(text, kind = "") {
    this.notice.textContent = text;
    this.notice.className = `notice ${kind}`;
  }

  // -- what is told -------------------------------------------------------------------------------------------
  on_room(told) {
    const first = !this.told;
    this.told = { ...this.told, ...told }; // what stays the same is told once
    told = this.told;
    if (first) this.say_notice("");
    this.title.textContent = told.title;
    document.title = `${told.title} \u00b7 Crossplay`;
    if (first && this.seat) this.furnish();
    if (first && !this.seat) this.watching();
    this.line_of_facts();
    this.lobby_of(told);
    refill(this.people, told.seats.map((s) => h("li", {}, h("b", {}, s.seat), s.seat === this.seat ? " (you)" : "", ": ", s.who === "person" ? (s.here ? (told.status === "playing" ? "a person" : s.ready ? "a person, ready" : "a person, here") : "a person, not here now") : s.who, s.stands_in && s.who !== "person" && " in the place of a person", s.taken && [" ", h("span.badge.going", {}, "taken over")], this.seat_tools(s))));
    if (["over", "stopped"].includes(told.status)) fill(this.more);
  }

  line_of_facts() {
    const { told, state } = this;
    const pace = { wait: "the game waits for everybody", deadline: `${number(told.speed)} s for a move`, tick: `${number(told.speed)} ticks a second` }[told.pace];
    const where = told.status === "playing" ? `game ${told.episode} of ${told.episodes}${state ? `, tick ${state.tick}` : ""}` : told.status;
    const score = state && state.total !== undefined && told.status === "playing" ? `, reward so far ${number(state.total)}` : "";
    this.facts.textContent = `${told.environment} \u00b7 ${this.seat ? `you sit at ${this.seat} \u00b7 ` : ""}${pace} \u00b7 ${where}${score}`;
  }

  lobby_of(told) {
    if (this.seat && told.consent && !told.agreed && ["starting", "playing"].includes(told.status)) {
      // Whoever takes a seat in the middle of a game agrees first; its agent plays meanwhile.
      refill(this.lobby, this.consent(told), h("div.row", {}, h("button.main", { onclick: () => this.agree() }, "Play from here on")));
      return;
    }
    if (!this.seat || !["waiting", "between"].includes(told.status)) {
      if (!this.seat && told.status === "waiting") fill(this.lobby, h("p.quiet", {}, "Nothing is played yet: it begins when everybody is here and ready, or when you say so. The world is shown here then."));
      if (told.status === "playing" || told.status === "starting") { fill(this.lobby); if (told.status === "playing") this.result = null; }
      return;
    }
    const me = told.seats.find((s) => s.seat === this.seat);
    const missing = told.seats.filter((s) => s.person && !(s.here && s.ready) && s.seat !== this.seat).map((s) => s.seat);
    const ask = Boolean(told.consent) && !told.agreed;
    const ready = h("button.main", { onclick: () => this.agree(ask) }, told.status === "between" ? "Ready for the next game" : "I am ready");
    const wait = me?.ready ? h("p", {}, missing.length ? `You are ready. Waiting for ${missing.join(", ")}.` : "You are ready.", " ", h("button", { onclick: () => this.say({ ready: false }) }, "Not yet")) : null;
    if (this.rules) this.rules.hidden = told.status === "waiting"; // the lobby shows them then
    refill(this.lobby, this.result, told.status === "waiting" && told.rules && h("details", { open: true }, h("summary", {}, "The rules"), h("p.rules", {}, told.rules)), ask && (me?.person || me?.taken) && this.consent(told), me?.person ? wait || h("div.row", {}, ready) : me?.taken && ask && h("div.row", {}, h("button.main", { onclick: () => this.agree() }, "I agree")));
  }

  consent(told) {
    // One box: what is ticked stays so when somebody else comes or goes.
    this.agreed ??= h("input", { type: "checkbox", id: "agree", required: true });
    return h("div.panel.stack", {}, h("h2", {}, "Before you begin"), h("p.rules", {}, told.consent), h("label.inline", { for: "agree" }, this.agreed, "I have read this and agree"));
  }

  agree(ask = true) {
    if (ask && !this.agreed.checked) { tell("Please read the text and agree to it first.", "bad"); this.agreed.focus(); return; }
    this.say({ ready: true, consent: ask });
  }

  seat_tools(s) {
    const mine = s.seat === this.seat;
    if (this.owner && !mine && s.who !== "person") return [" ", h("button.small", { onclick: (e) => this.take(s.seat, e.target) }, "Take over")];
    if (s.taken && (mine || this.owner)) return [" ", h("button.small", { onclick: (e) => this.give_back(s.seat, e.target) }, "Hand back")];
    if (this.owner && !mine && s.person) return [" ", h("button.small", { onclick: () => this.stand_in(s.seat) }, "Let an agent play")];
    if (!this.owner && this.told.takeover && s.who !== "person") return [" ", h("button.small", { onclick: (e) => this.take(s.seat, e.target) }, "Take over")];
    return null;
  }

  async take(name, button) {
    const found = await attempt(() => (this.owner ? post(path`/rooms/${this.room}/seats/${name}/take`) : post(path`/play/${this.room}/take`, { seat: this.seat, token: this.token, other: name })), button);
    if (!found) return;
    if (!this.seat) open_seat(found.link);
    else this.more.append(h("p", {}, `${name} is yours from the next tick on, when you have opened it: `, h("a.button", { href: found.link, target: "_blank" }, `Open ${name} beside this one`)));
  }

  async give_back(name, button) {
    const done = await attempt(async () => { await (this.owner ? post(path`/rooms/${this.room}/seats/${name}/give-back`) : post(path`/play/${this.room}/give-back`, { seat: name, token: this.token })); return true; }, button);
    if (done && this.owner && name === this.seat) open_seat(`/play/${this.room}`);
  }

  /** The owner gives the seat of somebody who is gone to an agent. */
  async stand_in(name) {
    const choices = await attempt(() => get("/play-choices"));
    const look = await post("/play-look", { environment: this.told.environment }).catch(() => null);
    if (!choices) return;
    const kinds = [...choices.agents.filter((a) => !COMPOSED.includes(a)), ...choices.models.map((m) => `llm:${m}`)];
    const beside = this.told.seats.find((s) => !s.person && s.who !== "person" && kinds.includes(s.who));
    const field = h("input", { id: "stand-in", list: "stand-ins", required: true, autocomplete: "off", value: beside?.who || look?.expert || "random" });
    fill(this.more, h("form.stack.panel", { onsubmit: async (event) => {
      event.preventDefault();
      const done = await attempt(() => post(path`/rooms/${this.room}/seats/${name}/hand-over`, { agent: field.value.trim() }), event.submitter);
      if (done) { fill(this.more); tell(`${field.value.trim()} plays ${name} from here on.`); }
    } },
    h("h3", {}, `Who plays ${name} from here on?`), h("label", { for: "stand-in" }, "Type of the agent"), field, h("datalist", { id: "stand-ins" }, kinds.map((k) => h("option", { value: k }))),
    h("p.quiet", {}, `The link of ${name} is worth nothing then. The record says which agent played, and from which tick on.`),
    h("div.row", {}, h("button.main", {}, `Give ${name} to the agent`), h("button", { type: "button", onclick: () => fill(this.more) }, "Cancel"))));
    field.focus();
  }

  on_countdown({ seconds }) {
    this.until = { at: performance.now() + seconds * 1000, whole: seconds, text: "It begins in" };
  }

  on_state(state) {
    this.state = state;
    if (this.until?.text === "It begins in") this.until = null;
    this.line_of_facts();
    if (state.text !== undefined && !this.board_shown(state)) {
      this.text.hidden = !state.text;
      this.text.textContent = state.text;
    }
    this.data.hidden = state.data === undefined;
    if (state.data !== undefined) this.data.textContent = JSON.stringify(state.data, null, 1);
    if (!this.seat) return;
    this.talk.open(state.audience || []);
    this.until = state.left !== undefined && state.left !== null ? { at: performance.now() + state.left * 1000, whole: this.told.speed, text: "Time for your move" } : null;
    const legal = state.turn && !state.answered ? state.legal || this.told.answer.names : [];
    this.keys?.enable(state.turn ? state.legal || null : this.told.pace === "tick" ? null : []);
    this.list?.show(legal);
    this.enable(Boolean(state.turn) && !state.answered);
    this.hint(state);
    if (this.told.pace === "tick") { const held = this.keys?.held(); if (held && state.turn) this.answer(held, true); }
    else if (this.keys?.held() && this.told.pace === "wait" && this.repeat) this.answer(this.keys.held(), true);
  }

  hint(state) {
    const last = state.last && state.last.origin !== "own" && state.last.origin !== "held" ? `For you ${JSON.stringify(state.last.value)} was played (${state.last.origin}), because no valid answer came in time. ` : "";
    const turn = state.turn ? (state.answered ? "Your answer stands; waiting for the others." : this.told.pace === "tick" ? "" : "It is your turn.") : this.told.status === "playing" ? "Waiting for the others." : "";
    this.say_notice(last + turn, last ? "warn" : "");
    document.body.dataset.turn = state.turn || "";
  }

  board_shown(state) {
    if (!this.board) return false;
    const shown = this.board.show(state.text, state.turn && !state.answered ? state.legal || this.told.answer.names : []);
    this.board.element.hidden = !shown;
    return shown;
  }

  on_heard(message) { this.talk.heard(message); }
  on_said(message) { this.talk.said(message); }

  on_refused({ why }) {
    this.sent = null;
    tell(why, "bad");
    if (this.state) this.enable(Boolean(this.state.turn) && !this.state.answered);
  }

  on_end(result) {
    const score = Object.entries(result.score).slice(0, 8);
    this.result = h("div.panel.result", {}, h("h2", {}, `Game ${result.episode} is over`), h("p", {}, ended(result.status)), h("dl.facts", {}, score.map(([k, v]) => [h("dt", {}, words(k)), h("dd", {}, number(v))])));
    fill(this.lobby, this.result);
    this.until = null;
    this.talk.clear();
  }

  on_closed({ status, why }) {
    this.over = true;
    this.end(status === "over" ? "All games are over. Thank you!" : `The room was closed: ${why}.`);
    if (this.result) fill(this.lobby, this.result, this.owner && h("p", {}, h("a.button", { href: "/" }, "To the runs")));
    document.body.dataset.over = status;
    this.line.close();
  }

  // -- answering ----------------------------------------------------------------------------------------------
  furnish() {
    const form = this.told.answer, play = (value) => this.answer(value);
    fill(this.action);
    const boarded = form.kind === "names" && isBoard(form.names);
    if (form.kind === "names" && fits(form.names) && !boarded) {
      const map = new KeyMap(form.names, this.told.environment);
      this.keys = controls(map, play);
      const again = h("input", { type: "checkbox", id: "repeat", onchange: () => { this.repeat = again.checked; } });
      fill(this.action, this.keys.element, h("details", {}, h("summary", {}, "Keys"), map.editor(() => this.keys.refresh()), this.told.pace === "wait" && h("label.inline", { for: "repeat" }, again, "a key that is held down plays on")));
    } else if (form.kind === "names") {
      this.list = moves(play);
      if (boarded) this.board = board(play, { chess: this.told.environment.includes("chess") });
      fill(this.action, this.board?.element, boarded ? h("details", { open: form.names.length < 30 }, h("summary", {}, "All legal moves"), this.list.element) : this.list.element);
    } else {
      this.field = form.kind === "text" ? writing(play, form.max_len) : form.kind === "box" && form.shape.reduce((a, b) => a * b, 1) <= 16 ? sliders(play, form, () => this.told.pace === "tick") : json(play, form.schema);
      fill(this.action, this.field.element);
    }
    this.look(boarded || !this.told.views.includes("image") ? ["text"] : ["image"]);
    const boxes = this.told.views.map((v) => {
      const box = h("input", { type: "checkbox", checked: this.wanted.includes(v), id: `view-${v}`, onchange: () => {
        const next = this.told.views.filter((w) => (w === v ? box.checked : this.wanted.includes(w)));
        if (boarded && !next.includes("text")) next.push("text");
        this.look(next);
      } });
      return h("label.inline", { for: `view-${v}` }, box, { image: "picture", text: "words", data: "data" }[v]);
    });
    this.rules = this.told.rules && h("details", { hidden: this.told.status === "waiting" }, h("summary", {}, "The rules"), h("p.rules", {}, this.told.rules));
    fill(this.side, h("section.panel", {}, h("h2", {}, "At the table"), this.people, this.more), this.talk.element, h("section.panel.stack", {}, h("h2", {}, "Shown"), h("div.row", {}, boxes), this.rules));
  }

  look(views) {
    this.wanted = views.length ? views : ["text"];
    if (!this.wanted.includes("image")) this.picture.hidden = true;
    if (!this.wanted.includes("text")) this.text.hidden = true;
    if (!this.wanted.includes("data")) this.data.hidden = true;
    this.say({ views: this.wanted });
  }

  answer(value, quiet = false) {
    const state = this.state;
    if (!state?.turn || (state.answered && this.told.pace !== "tick")) { if (!quiet && this.told?.status === "playing") tell("It is not your turn."); return false; }
    if (quiet && this.sent === state.turn) return false;
    if (this.told.pace !== "tick" && this.sent === state.turn) return false;
    if (!this.say({ turn: state.turn, value })) return false;
    this.sent = state.turn;
    if (this.told.pace !== "tick") this.enable(false);
    return true;
  }

  enable(on) {
    this.field?.enable(on);
    this.action.classList.toggle("rests", !on && this.told?.pace !== "tick");
  }

  tick() {
    const { until } = this;
    this.clock.hidden = !until;
    if (!until) return;
    const left = Math.max(0, (until.at - performance.now()) / 1000);
    const bar = this.clock.querySelector("progress") || this.clock.appendChild(h("progress", { max: 1, "aria-label": "time left" }));
    const said = this.clock.querySelector("span") || this.clock.insertBefore(h("span"), bar);
    bar.value = until.whole ? left / until.whole : 0;
    said.textContent = `${until.text}: ${left.toFixed(left < 10 ? 1 : 0)} s`;
    this.clock.classList.toggle("soon", left < until.whole / 4);
  }

  // -- the owner, watching ------------------------------------------------------------------------------------
  watching() {
    const tools = h("div.row", {}, h("button", { onclick: (e) => attempt(() => post(path`/rooms/${this.room}/start`), e.target) }, "Begin without waiting"), h("button.danger", { onclick: (e) => attempt(() => post(path`/rooms/${this.room}/close`, {}), e.target) }, "Close the room"));
    fill(this.side, h("section.panel.stack", {}, h("h2", {}, "At the table"), this.people, h("p.quiet", {}, "You see the whole world, which no seat does. That you watch is noted in the record."), this.more, tools), this.invites());
  }

  invites() {
    const list = h("div.stack");
    const make = async (name, button) => {
      const found = await attempt(() => post(path`/rooms/${this.room}/seats/${name}/invite`), button);
      if (found) list.append(invitation(found));
    };
    get(path`/rooms/${this.room}`).then((view) => fill(list, h("p.quiet", {}, "A new link makes the older one of that seat worthless."), h("div.row", {}, view.seats.filter((s) => s.person).map((s) => h("button", { onclick: (e) => make(s.seat, e.target) }, `New link for ${s.seat}`))))).catch((error) => fill(list, h("p.error", {}, error.message)));
    return h("section.panel.stack", {}, h("h2", {}, "Links"), list);
  }
}

/** A seat's link: to copy, or to sit down oneself. */
export function invitation({ seat, link }) {
  const whole = location.origin + link;
  const field = h("input", { readOnly: true, value: whole, "aria-label": `Link for ${seat}`, onclick: () => field.select() });
  return h("div.invite", {}, h("b", {}, seat), field, h("button", { onclick: async () => { await navigator.clipboard?.writeText(whole).catch(() => null); field.select(); tell(`The link for ${seat} is copied.`); } }, "Copy"), h("button", { onclick: () => open_seat(link) }, "Sit here"));
}

/** Fill an element anew; what had the focus has it again, where it is still there. */
function refill(element, ...children) {
  const had = element.contains(document.activeElement) ? document.activeElement : null;
  fill(element, ...children);
  if (!had || element.contains(document.activeElement)) return;
  [...element.querySelectorAll(had.localName)].find((e) => (had.id ? e.id === had.id : e.textContent === had.textContent))?.focus();
}

/** Show another seat of a room: the part behind "#" alone does not load a page. */
function open_seat(link) {
  delete document.body.dataset.ready;
  go(link);
}
