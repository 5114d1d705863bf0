// The session of a participant: consent, instructions, practice, games with each partner, questions, thanks. The server says what
// comes next; nothing is kept here, so that the same link goes on wherever it was. The ticket stays behind "#" and in bodies.

import { post } from "../api.js";
import { fill, h, style } from "../dom.js";

const LOOK_MS = 1500;
const GO_ON = { consent: "I agree", instructions: "Go on", break: "Go on", questions: "Send and go on" };

export async function show(root) {
  style("people");
  const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
  if (!ticket) {
    fill(root, h("h1", {}, "This page needs its link"), h("p", {}, "Open the link that you were sent, with all that stands behind “#” in it."));
    return null;
  }
  const ask = (where = "", body = {}) => post(`/take-part${where}`, { ticket, ...body });
  let leave = null, timer = 0, gone = false, part = null;
  root.classList.add("part");
  document.body.classList.add("taking-part");

  function after() {
    clearTimeout(timer);
    if (typeof leave === "function") leave();
    leave = null;
  }

  async function look(next = null) {
    after();
    part = next || (await ask());
    if (!gone) draw();
  }

  async function act(where, body, said, button) {
    button.disabled = true;
    said.textContent = "";
    try {
      await look(await ask(where, body));
    } catch (error) {
      said.textContent = error.message;
      button.disabled = false;
      said.scrollIntoView({ block: "nearest" });
    }
  }

  function draw() {
    const heading = h("h1", { tabIndex: -1 }, title());
    const body = h("div.stack");
    const over = part.kind === "over" || part.kind === "thanks";
    fill(root, h("div.part-top", {},
      h("span", {}, part.title),
      !over && part.steps > 0 && h("span.row", {}, h("progress", { value: part.at, max: part.steps, "aria-label": `Step ${part.at + 1} of ${part.steps}` }), h("small", {}, `Step ${part.at + 1} of ${part.steps}`))),
    heading, body,
    part.leave && part.kind !== "consent" && h("p.part-leave", {}, h("button.danger", { onclick: stop }, "Stop here")));
    const make = { consent, instructions: text, break: pause, practice: game, play: game, questions, thanks: end, over: end, waiting }[part.kind];
    make(body);
    document.title = part.title;
    document.body.dataset.part = part.kind;
    heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }

  function title() {
    switch (part.kind) {
      case "consent": return "Before you begin";
      case "instructions": return "How it works";
      case "practice": return part.games > 1 ? `Practice game ${part.game} of ${part.games}` : "Practice game";
      case "waiting": return "Waiting for the next game";
      case "play": return !part.steps ? "A game is waiting for you" : part.games > 1 ? `Partner ${part.partner} of ${part.partners}, game ${part.game} of ${part.games}` : `Partner ${part.partner} of ${part.partners}`;
      case "questions": return part.partner ? `About partner ${part.partner}` : "Some last questions";
      case "break": return "A break";
      case "thanks": return "Thank you";
      default: return "This session has ended";
    }
  }

  const reading = () => h("div.part-text", {}, part.text.trim().split(/\n\s*\n/).map((p) => h("p", {}, p)));
  const error = () => h("p.error", { role: "alert" });

  function consent(body) {
    const said = error();
    const yes = h("button.main", { onclick: (e) => act("/step", { at: part.at, agree: true }, said, e.target) }, "I agree and take part");
    const no = h("button", { onclick: (e) => act("/step", { at: part.at, agree: false }, said, e.target) }, "I do not agree");
    fill(body, reading(), said, h("div.row", {}, yes, no));
  }

  function text(body) {
    const said = error();
    fill(body, reading(), said, h("button.main", { onclick: (e) => act("/step", { at: part.at }, said, e.target) }, GO_ON[part.kind]));
  }

  function pause(body) {
    const said = error(), until = Date.now() + 1000 * part.seconds;
    const button = h("button.main", { onclick: (e) => act("/step", { at: part.at }, said, e.target) }, GO_ON.break);
    const left = h("p.quiet", { "aria-live": "off" });
    const count = () => {
      const s = Math.ceil((until - Date.now()) / 1000);
      button.disabled = s > 0;
      left.textContent = s > 0 ? `You can go on in ${s} s.` : "";
      if (s > 0) timer = setTimeout(count, 250);
    };
    fill(body, reading(), left, said, button);
    count();
  }

  function game(body) {
    const said = error(), step = part.at;
    const note = part.text && reading();
    const hint = part.steps && part.kind === "play" && part.game === 1 ? h("p", {}, part.partner === 1 ? "You play with your first partner now." : "You play with another partner now.") : null;
    const start = h("button.main", { onclick: () => play(body, step, said, start) }, part.kind === "practice" ? "Open the practice game" : "Open the game");
    fill(body, note, hint, said, start);
  }

  async function play(body, step, said, button) {
    button.disabled = true;
    try {
      const given = await ask("/seat", { at: step });
      const space = h("div.part-game");
      const next = h("div.row", { role: "status" });
      fill(body, next, space);
      const page = await import("./play.js");
      leave = await page.show(space, { parts: { room: given.room }, owner: false, link: given.link.split("#")[1] });
      if (gone) return after();
      wait(step, next, space);
    } catch (problem) {
      said.textContent = problem.message;
      button.disabled = false;
      fill(body, said, button);
    }
  }

  // The game is over when the server says that another step is due; it was cut off when it is not open any more.
  function wait(step, next, space) {
    const ends = (words, text) => {
      const button = h("button.main", { onclick: () => look().catch((problem) => { said.textContent = problem.message; }) }, text);
      const said = error();
      after();
      space.classList.add("over");
      document.title = part.title;
      fill(next, h("strong", {}, words), button, said);
      button.focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest" });
    };
    timer = setTimeout(async () => {
      try {
        const now = await ask();
        if (gone) return;
        if (now.at !== step || now.kind === "over") {
          ends("The game is over.", now.kind === "play" && now.partner === part.partner ? "Next game" : "Go on");
          document.body.dataset.part = "played";
          return;
        }
        if (!now.open) {
          ends("The game was cut off.", "Back to the game");
          document.body.dataset.part = "cut";
          return;
        }
      } catch (problem) {
        if (problem.status === 404) { // a server that is being started again, a line that is down: it is asked again
          fill(next, h("span.error", { role: "alert" }, problem.message));
          return;
        }
      }
      wait(step, next, space);
    }, LOOK_MS);
  }

  function questions(body) {
    const said = error();
    const form = h("form.stack", { noValidate: true });
    const fields = part.questions.map((q, i) => field(q, i));
    const button = h("button.main", {}, GO_ON.questions);
    fill(form, fields.map((f) => f.element), said, button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const answers = {};
      let first = null;
      for (const f of fields) {
        const value = f.value();
        const missing = f.q.required && (value === null || value === "");
        f.mark(missing);
        if (missing) first = first || f;
        else if (value !== null && value !== "") answers[f.q.name] = value;
      }
      if (first) {
        said.textContent = "Please answer the questions that are marked.";
        first.focus();
        return;
      }
      act("/step", { at: part.at, answers }, said, button);
    });
    fill(body, form);
  }

  function field(q, i) {
    const id = `q${i}`, note = h("small.part-missing", { id: `${id}-note` });
    const optional = !q.required && h("small", {}, " (you may leave this out)");
    const mark = (missing) => {
      note.textContent = missing ? "Please answer this." : "";
      element.classList.toggle("missing", missing);
    };
    let element, value, focus;
    if (q.kind === "text" || q.kind === "number") {
      const input = q.kind === "text"
        ? h("textarea", { id, maxLength: 4000, "aria-describedby": `${id}-note` })
        : h("input", { id, type: "number", step: "any", min: q.low, max: q.high, inputMode: "decimal", "aria-describedby": `${id}-note` });
      const range = q.kind === "number" && (q.low !== null || q.high !== null) ? ` (${[q.low, q.high].map((x) => x ?? "").join(" to ").trim()})` : "";
      element = h("div.part-question", {}, h("label", { for: id }, q.ask, range, optional), input, note);
      value = () => (q.kind === "text" ? input.value : input.value === "" ? null : Number(input.value));
      focus = () => input.focus();
    } else {
      const names = q.kind === "likert" ? q.labels : q.choices;
      const buttons = names.map((text, k) => h("input", { type: "radio", name: id, value: String(k), id: `${id}-${k}` }));
      element = h("fieldset.part-question", { class: q.kind === "likert" ? "likert" : "", "aria-describedby": `${id}-note` }, h("legend", {}, q.ask, optional),
        h("div.part-choices", {}, names.map((text, k) => h("label", { for: `${id}-${k}` }, buttons[k], h("span", {}, text)))), note);
      value = () => {
        const chosen = buttons.findIndex((b) => b.checked);
        return chosen < 0 ? null : q.kind === "choice" ? names[chosen] : chosen + 1;
      };
      focus = () => buttons[0].focus();
    }
    return { q, element, value, mark, focus };
  }

  function waiting(body) {
    const said = h("p.error");
    fill(body, reading(), h("p.quiet", { role: "status" }, "This page goes on by itself."), said);
    const again = async () => {
      try {
        const now = await ask();
        if (gone) return;
        if (now.at !== part.at) { look(now); return; }
        said.textContent = "";
      } catch (problem) {
        said.textContent = problem.message;
      }
      timer = setTimeout(again, LOOK_MS);
    };
    timer = setTimeout(again, LOOK_MS);
  }

  function end(body) {
    fill(body, reading());
  }

  function stop() {
    const said = error();
    const box = h("dialog", { "aria-labelledby": "stopping" },
      h("h2.first", { id: "stopping" }, "Stop here?"),
      h("p", {}, "Your session ends for good. What you have finished until now is kept, without your name."), said,
      h("div.row", {}, h("button.danger", { onclick: async (e) => { await act("/leave", {}, said, e.target); box.close(); } }, "Stop"), h("button", { autofocus: true, onclick: () => box.close() }, "Go on")));
    box.addEventListener("close", () => box.remove());
    root.append(box);
    box.showModal();
  }

  const done = () => {
    gone = true;
    after();
    document.body.classList.remove("taking-part");
    delete document.body.dataset.part;
  };
  try {
    await look();
  } catch (problem) {
    done();
    throw problem;
  }
  return done;
}
