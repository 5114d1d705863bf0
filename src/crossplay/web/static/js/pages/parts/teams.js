// What happened inside the teams of a run: members, rounds, who agrees with whom.

import { get, path } from "../../api.js";
import { h } from "../../dom.js";
import { number } from "../../ui.js";
import { plainTable } from "./results.js";

const percent = (v) => (v === null || v === undefined ? "" : `${number(100 * v, 0)} %`);

/** The tab of a run's teams; controls that are teams are folded away. */
export async function teamsTab(run) {
  const { teams } = await get(path`/runs/${run}/teams`);
  if (!teams.length) return h("p.quiet", {}, "No team has played yet.");
  const first = teams.filter((t) => !t.ledger.role || t.ledger.kind === "single");
  const shown = first.length ? first : teams;
  const rest = teams.filter((t) => !shown.includes(t));
  return h("div", {},
    h("p.quiet", {}, "Right: share of a member's last answers. Drift: share of the decisions whose standing answers score less than a round before. Agreement compares answers as votes do."),
    shown.map((t) => one(t, run)), rest.length > 0 && h("details", {}, h("summary", {}, `${rest.length} controls that are teams`), rest.map((t) => one(t, run))));
}

function one({ ledger: t, said }, run) {
  return h("section", {}, h("h2", {}, `${t.lineup}: ${t.team} in ${t.env}`),
    plainTable(`${number(t.decisions)} decisions, by member`,
      [["member"], ["asks", true], ["faults", true], ["words", true], ["share", true], ["calls", true], ["tokens in", true], ["cached", true], ["tokens out", true], ["USD", true], ["right", true], ["confidence", true], ["ECE", true]],
      t.members.map((m) => [m.name, number(m.asks), number(m.faults), number(m.words), percent(m.share), number(m.calls), number(m.tok_in), number(m.tok_cached), number(m.tok_out), number(m.money, 4), number(m.right, 2), number(m.confidence, 2), number(m.ece)])),
    t.rounds.length > 0 && plainTable("By round",
      [["round"], ["answers", true], ["all agree", true], ["score", true], ["drift", true], ["right kept", true], ["right to wrong", true], ["wrong to right", true], ["wrong kept", true]],
      t.rounds.map((r) => [r.round, number(r.answers), percent(r.agreed), number(r.score), percent(r.drift), number(r.right_right), number(r.right_wrong), number(r.wrong_right), number(r.wrong_wrong)])),
    h("ul.notes", {}, said.map((s) => h("li", {}, s))),
    h("p", {}, h("a", { href: `${path`/runs/${run}/episodes`}?${new URLSearchParams({ lineup: t.lineup })}` }, "Its episodes"), ", each with who was shown whose words, round by round."),
    t.last.length > 1 && h("details", {}, h("summary", {}, "Who agrees with whom"), pairs("First answers that are equal", t, t.first), pairs("Last answers that are equal", t, t.last)));
}

const pairs = (caption, t, matrix) =>
  plainTable(caption, [["member"], ...t.members.map((m) => [m.name, true])], t.members.map((m, i) => [m.name, ...matrix[i].map(percent)]));
