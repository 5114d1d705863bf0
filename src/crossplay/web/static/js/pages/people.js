// A study with people, as its owner sees it: links for participants, who is where, who left; and the list of all such studies.

import { get, path, post } from "../api.js";
import { fill, h, style } from "../dom.js";
import { attempt, crumbs, number, pathOf, tell } from "../ui.js";
import { asked, attended } from "./parts/answered.js";

const STATUS = { invited: ["", "invited"], going: ["going", "in session"], complete: ["good", "complete"], left: ["flag", "left"], declined: ["", "declined"], unused: ["", "taken back"], withdrawn: ["", "withdrawn"] };
const AGAIN_MS = 3000;

export async function show(root, { parts }) {
  style("people");
  return parts.study ? one(root, parts.study) : all(root);
}

async function all(root) {
  const { studies } = await get("/people");
  fill(root, h("h1", {}, "Experiments with people"),
    studies.length
      ? h("div.grid", {}, studies.map((s) => h("div.panel.stack", {},
        h("h2.first", {}, h("a", { href: path`/people/${s.name}` }, s.title)),
        h("p.quiet", {}, pathOf(s.name)),
        s.problem ? h("p.error", {}, s.problem) : meter(s.complete, s.wanted, "sessions complete"),
        s.open && h("p", {}, h("span.badge.going", {}, "open for participants")))))
      : h("div.panel.stack", {}, h("p", {}, "No study in the served folder has participants."),
        h("p", {}, "Put a study file there that seats a person, ", h("code", {}, '[agents.me] type = "person"'), ", and has a table ", h("code", {}, "[people]"),
          " with how many take part, what they agree to and what they are asked. The folder ", h("code", {}, "examples"), " has one, people.toml.")));
}

async function one(root, study) {
  const at = path`/people/${study}`;
  const top = h("div.stack"), doing = h("div.stack"), list = h("div.stack"), more = h("div.stack");
  const opened = new Set(); // details that were opened, so that a new look leaves them so
  let view = null, gone = false, timer = 0, sign = "";
  fill(root, crumbs(["/people", "Experiments with people"], [null, pathOf(study)]), top, doing, list, more);

  async function look(next = null) {
    clearTimeout(timer);
    view = next || (await get(at));
    if (gone) return;
    const now = JSON.stringify(view);
    if (now !== sign && !root.contains(document.activeElement?.closest?.("dialog, .keep"))) {
      sign = now;
      draw();
    }
    timer = setTimeout(() => look().catch(() => { timer = setTimeout(() => look().catch(() => null), 2 * AGAIN_MS); }), AGAIN_MS);
  }
  const act = (where, body, button) => attempt(async () => { const next = await post(at + where, body); sign = ""; await look(next); return next; }, button);

  function draw() {
    const a = view.attendance;
    fill(top, h("h1", {}, view.title), view.description && h("p", {}, view.description),
      view.problem && h("p.error", { role: "alert" }, view.problem),
      h("div.people-facts", {},
        h("div.panel", {}, meter(a.complete, a.wanted, "sessions complete"), h("p.quiet", {}, attended(a))),
        h("dl.facts.panel", {},
          h("dt", {}, "Partners"), h("dd", {}, view.partners.join(", ")),
          h("dt", {}, "Where"), h("dd", {}, view.environments.join("; ")),
          h("dt", {}, "Each plays"), h("dd", {}, `${a.episodes} episodes that count`),
          h("dt", {}, "Results"), h("dd", {}, view.run ? h("a", { href: path`/runs/${view.run}` }, "tables so far") : "after the first participant"))));
    const count = h("input", { type: "number", min: 1, max: Math.max(1, view.invite), value: Math.min(1, view.invite) || 1, id: "count", disabled: !view.invite });
    fill(doing, h("div.row.people-do", {},
      h("label", { for: "count" }, "New participants"), count,
      h("button.main", { disabled: !view.invite, onclick: (e) => act("/invite", { count: Number(count.value) }, e.target) }, "Make links"),
      view.invite ? h("span.quiet", {}, `${number(view.invite)} of ${number(a.wanted)} places are free`) : h("span.quiet", {}, "all places are taken"),
      view.open && h("button", { onclick: (e) => act("/close", {}, e.target), title: "Its run can then be used by other programs; links stay good" }, "Close")),
    view.rest > 0 && h("div.panel.row.apart", {},
      h("span", {}, view.resting ? "The lineups without people are being played." : `${number(view.rest)} episodes of lineups without people (floor, ceiling, pairs of agents) are still to be played.`),
      !view.resting && h("button", { onclick: (e) => act("/rest", {}, e.target) }, "Play them now")));
    fill(list, h("h2", {}, "Participants"), view.sessions.length ? table() : h("p.quiet", {}, "Nobody is invited yet. Make links and send each person one; nothing is recorded before they agree."));
    const order = h("details", { open: opened.has("orders"), ontoggle: (e) => opened[e.target.open ? "add" : "delete"]("orders") },
      h("summary", {}, `Orders of partners (${number(view.orders.length)})`),
      h("ol", {}, view.orders.map((o) => h("li", {}, o.join(" \u2192 ")))));
    const beside = view.beside.length > 0 && h("div.stack", {}, h("h2", {}, "Partners who are people"),
      h("p.quiet", {}, "Whoever opens the link waits, and is called to each game in which a participant meets this partner."),
      view.beside.map((b) => h("div.panel.row.apart", {}, h("span", {}, h("strong", {}, b.agent), " ", b.here && h("span.badge.good", {}, "in a game")),
        h("button", { onclick: () => copy(location.origin + b.link, `the link of ${b.agent}`) }, "Copy link"))));
    fill(more, beside, view.asked.length > 0 && h("div.stack", {}, h("h2", {}, "What they answered"), h("p.quiet", {}, "Means over participants with their intervals; differences with the first or the baseline partner, Holm-adjusted. So far."), view.asked.map(asked)), order);
  }

  function table() {
    const waiting = view.sessions.filter((s) => s.status === "invited");
    return h("div.stack", {},
      waiting.length > 1 && h("div.row", {}, h("button", { onclick: () => copy(waiting.map((s) => location.origin + s.link).join("\n"), `${waiting.length} links`) }, `Copy ${waiting.length} unused links`)),
      h("div.scroll", { tabIndex: 0, role: "region", "aria-label": "Participants" }, h("table", {},
        h("thead", {}, h("tr", {}, ["Participant", "State", "Link", "How far", "Episodes", "Begun anew", "Gone on with", h("span.unseen", {}, "End")].map((t, i) => h(i >= 4 && i <= 6 ? "th.number" : "th", { scope: "col" }, t)))),
        h("tbody", {}, view.sessions.map(line)))));
  }

  function line(s) {
    const [kind, text] = STATUS[s.status];
    const going = s.status === "going" || s.status === "invited";
    return h("tr", {},
      h("th", { scope: "row", title: s.order.join(" \u2192 ") }, s.participant),
      h("td", {}, h("span", { class: `badge ${kind}` }, text), " ", going && s.here && h("span.badge.good", {}, "here now")),
      h("td", {}, going && h("button", { onclick: () => copy(location.origin + s.link, `the link of ${s.participant}`), "aria-label": `Copy the link of ${s.participant}` }, "Copy")),
      h("td", {}, going && s.steps ? h("div.people-far", {}, h("progress", { value: s.done, max: s.steps, "aria-label": `${s.participant}: ${s.done} of ${s.steps} steps` }), h("small", {}, `${s.done} of ${s.steps}, ${s.doing}`, s.room && [" ", h("a", { href: path`/play/${s.room}`, "aria-label": `Watch ${s.participant}` }, "watch")])) : h("small", {}, s.doing === s.status ? "" : s.doing)),
      h("td.number", {}, s.status === "withdrawn" ? "" : `${s.episodes} of ${view.attendance.episodes}`),
      h("td.number", {}, s.again || ""),
      h("td.number", {}, s.resumed || ""),
      h("td", {}, ["left", "complete"].includes(s.status) && h("button.danger", { onclick: (e) => removing(s, e.target), "aria-label": `Remove all of ${s.participant}` }, "Remove"), going && h("button.danger", { onclick: (e) => ending(s, e.target), "aria-label": `End the session of ${s.participant}` }, "End")));
  }

  const ending = (s, button) => sure(button, `/sessions/${s.number}/end`, `End the session of ${s.participant}?`,
    "Its link is worth nothing from then on. What is finished stays in the tables, marked as incomplete, and its place in the orders is free for somebody else.", "End it", "Keep it");

  const removing = (s, button) => sure(button, `/sessions/${s.number}/withdraw`, `Remove all of ${s.participant}?`,
    "For a participant who withdraws the consent. Their episodes, practice and answers are removed from this run for good, and from all tables; only that somebody withdrew stays. Reports and exports that lie in the run go as well; other copies of it have to be treated likewise.", "Remove for good", "Keep");

  function sure(button, where, asked, what, yes, no) {
    const box = h("dialog", { "aria-labelledby": "sure" },
      h("h2.first", { id: "sure" }, asked), h("p", {}, what),
      h("div.row", {}, h("button.danger", { onclick: async () => { box.close(); await act(where, {}, button); } }, yes), h("button", { autofocus: true, onclick: () => box.close() }, no)));
    box.addEventListener("close", () => box.remove());
    root.append(box);
    box.showModal();
  }

  await look();
  return () => { gone = true; clearTimeout(timer); };
}

const meter = (value, max, what) => h("div", {}, h("p.people-count", {}, h("strong", {}, `${number(value)} of ${number(max)}`), ` ${what}`), h("progress", { value, max, "aria-label": `${value} of ${max} ${what}` }));

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    tell(`Copied ${what}.`);
  } catch {
    const box = h("dialog", { "aria-label": what }, h("p", {}, "Copy this:"), h("textarea", { readOnly: true, rows: 6 }, text), h("button", { onclick: () => box.close() }, "Close"));
    box.addEventListener("close", () => box.remove());
    document.body.append(box);
    box.showModal();
    box.querySelector("textarea").select();
  }
}
