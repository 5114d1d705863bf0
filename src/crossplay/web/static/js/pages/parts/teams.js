// What happened inside the teams of a run: members, rounds, who agrees with whom.

import { get, path } from "../../api.js";
import { h } from "../../dom.js";
import { fixed, number } from "../../ui.js";
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
    h("p.quiet", {}, "Right: share of a member's last answers. Drift: share of the decisions whose standing answers score less than a round before. Agreement compares answers as votes do. Calibration error: how far a member's confidence is from the share of its answers that are right (ECE)."),
    shown.map((t) => one(t, run)), rest.length > 0 && h("details", {}, h("summary", {}, `${rest.length} controls that are teams`), rest.map((t) => one(t, run))));
}

function one({ ledger: t, said }, run) {
  return h("section", {}, h("h2", {}, `${t.lineup}: ${t.team} in ${t.env}`),
    plainTable(`${t.lineup}: ${number(t.decisions)} decisions, by member`,
      [["Member"], ["Asked", true], ["Faults", true], ["Words", true], ["Share of words", true], ["Calls", true], ["Tokens in", true], ["Cached", true], ["Tokens out", true], ["Price (USD)", true], ["Right", true], ["Confidence", true], ["Calibration error", true]],
      t.members.map((m) => [m.name, number(m.asks), number(m.faults), number(m.words), percent(m.share), number(m.calls), number(m.tok_in), number(m.tok_cached), number(m.tok_out), number(m.money, 4), fixed(m.right, 2), fixed(m.confidence, 2), fixed(m.ece, 3)])),
    t.rounds.length > 0 && plainTable(`${t.lineup}, by round`,
      [["Round"], ["Answers", true], ["All agree", true], ["Score", true], ["Drift", true], ["Right kept", true], ["Right to wrong", true], ["Wrong to right", true], ["Wrong kept", true]],
      t.rounds.map((r) => [r.round, number(r.answers), percent(r.agreed), fixed(r.score, 3), percent(r.drift), number(r.right_right), number(r.right_wrong), number(r.wrong_right), number(r.wrong_wrong)])),
    h("ul.notes", {}, said.map((s) => h("li", {}, s))),
    h("p", {}, h("a", { href: `${path`/runs/${run}/episodes`}?${new URLSearchParams({ lineup: t.lineup })}` }, "Its episodes"), ", each with who was shown whose words, round by round."),
    t.last.length > 1 && h("details", {}, h("summary", {}, "Who agrees with whom"), pairs(`${t.lineup}: first answers that are equal`, t, t.first), pairs(`${t.lineup}: last answers that are equal`, t, t.last)));
}

const pairs = (caption, t, matrix) =>
  plainTable(caption, [["Member"], ...t.members.map((m) => [m.name, true])], t.members.map((m, i) => [m.name, ...matrix[i].map(percent)]));
