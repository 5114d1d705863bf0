// One run: what it says in sentences, then the tables and plots that this rests on, and where it comes from.

import { get, link, listen, path } from "../api.js";
import { fill, h, style } from "../dom.js";
import { keep } from "../main.js";
import { crumbs, duration, figure, many, minus, number, pathOf, tabs } from "../ui.js";
import { asked, attended } from "./parts/answered.js";
import { controlOf } from "./parts/control.js";
import { plainTable, progressOf, spentOf, stateBadge, verdict } from "./parts/results.js";
import { teamsTab } from "./parts/teams.js";

const PLOTS = [["scores", "Scores"], ["differences", "Differences"], ["payoff", "Payoff"], ["profiles", "Profiles"], ["cost", "Cost"], ["faults", "Fallbacks"]];
const MACHINE = { cpu: "Processor", crossplay: "Crossplay", git_sha: "Code (git)", implementation: "Kind of Python", lock_digest: "Packages (digest)", machine: "Architecture", platform: "System" };
const AGAIN = 4000; // milliseconds between two looks at a run that goes on

export async function show(root, { parts, query }) {
  style("results");
  root.classList.add("results");
  const { run } = parts;
  const here = `/runs/${encodeURIComponent(run)}`;
  let head = await get(path`/runs/${run}`);
  const chosen = { tab: query.tab || "answers", env: query.env || "", metric: query.metric || "" };
  const top = h("div"), state = h("div.row"), choices = h("div.row.tools"), holder = h("div.plots");
  fill(root, crumbs(["/", "Runs"], [null, pathOf(run)]), top, choices, holder);

  function heading() {
    fill(state, stateBadge(head.row), h("span", {}, progressOf(head.row)), h("span.quiet", {}, "Spent: ", spentOf(head.row)));
    fill(top,
      h("div.row.apart", {}, h("h1", {}, head.row.study), h("div.row", {}, h("a.button", { href: `${here}/episodes` }, "Episodes"), h("a.button", { href: `${here}/compare` }, "Compare in lock-step"), controlOf(head.row))),
      head.description && h("p", {}, head.description), state,
      head.marks.filter((m) => /^(damaged|unfinished|many fallbacks)/.test(m)).map((m) => h("p.note", {}, m)));
  }

  let loading = null; // the result of this look, for all tabs together
  const result = () => (loading ??= get(path`/runs/${run}/result`, { metric: chosen.metric }));
  const episodesOf = (lineup, env) => `${here}/episodes?${new URLSearchParams({ lineup, env })}`;

  async function choose() {
    const { environments, metrics, result: r } = await result();
    const pick = (title, name, options, now) => options.length > 1 && h("label.inline", {}, title, h("select", {
      onchange: (event) => { chosen[name] = event.target.value; keep({ [name]: chosen[name] }); if (name === "metric") loading = null; draw(); },
    }, options.map((o) => h("option", { value: o, selected: o === now }, o))));
    if (!environments.includes(chosen.env)) chosen.env = environments[0] || "";
    fill(choices, pick("Environment", "env", environments, chosen.env), pick("Metric", "metric", Object.keys(metrics), chosen.metric || r.metric));
  }

  function draw() {
    const list = [["answers", "Answers", answers], ...PLOTS.map(([key, title]) => [key, title, () => plotTab(key)])];
    if (head.teams) list.push(["teams", "Teams", () => teamsTab(run)]);
    if (head.people) list.push(["people", "Participants", participants]);
    list.push(["cells", "Progress", async () => cells()], ["about", "About", async () => about()]);
    return new Promise((made) => { // what is shown first is there when this is done, or why not
      const told = list.map(([key, title, make]) => [key, title, () => make().finally(() => setTimeout(made))]);
      fill(holder, tabs(told, chosen.tab, (key) => { chosen.tab = key; keep({ tab: key === "answers" ? "" : key }); }, "What the run says"));
    });
  }

  // -- answers -------------------------------------------------------------------------------------------
  async function answers() {
    const view = await result();
    await choose();
    const r = view.result;
    if (!r.rows.length) return h("p.quiet", {}, "No episode has a score yet.");
    const several = view.environments.length > 1;
    const env = chosen.env;
    const said = view.said.filter((s) => s.env === env);
    const rest = said.filter((s) => s.kind === "comparison");
    const line = (s) => h("li", { class: s.kind === "best" ? "best" : s.verdict }, s.ask && h("b", {}, s.ask), verdict(s.verdict, s.word), s.word && " ", minus(s.sentence), s.kind === "question" && s.marks.map((m) => [" ", h("span.badge", {}, m)]));
    return h("div", {}, several && h("h2", {}, env),
      h("ul.answers", {}, said.filter((s) => s.kind === "question").map(line), rest.length <= 8 && rest.map(line), said.filter((s) => s.kind === "best").map(line)),
      rest.length > 8 && h("details", {}, h("summary", {}, `All ${rest.length} comparisons with ${r.baseline} in words`), h("ul.answers", {}, rest.map(line))),
      view.warnings.length > 0 && h("p.note", {}, `Read with care: ${view.warnings.join("; ")}.`),
      scores(view, env), orders(r, env), controls(view, env));
  }

  function scores(view, env) {
    const r = view.result, rows = r.rows.filter((row) => row.env === env), best = Math.max(...rows.map((row) => row.summary.mean.value));
    return plainTable(`${env}: mean of block means${r.baseline ? `, and paired difference from ${r.baseline}` : ""}; \u2605 is the highest mean`,
      [["Lineup"], [`${r.metric} [${number(100 * r.level)} %]`, true], ["Difference [Holm]", true], ["Verdict"], ["Blocks", true], ["Distinct", true], ["Episodes", true]],
      rows.map((row) => {
        const key = `${env}/${row.lineup}`, c = row.comparison;
        const marks = [...row.summary.marks.filter((m) => m !== row.summary.mean.mark), ...(row.costs.flagged ? ["over the fault limit"] : [])];
        return [
          [row.lineup, row.summary.mean.value === best && h("span", { role: "img", "aria-label": "highest mean" }, " \u2605"), h("small", {}, view.words[key]), marks.map((m) => [h("span.badge", { class: m.startsWith("over") ? "flag" : "" }, m), " "])],
          view.means[key], view.differences[key] || "", c ? verdict(c.verdict, said(view, env, row.lineup)) : row.lineup === r.baseline ? "baseline" : "",
          number(row.summary.blocks), row.summary.distinct === null ? "" : number(row.summary.distinct),
          h("a", { href: episodesOf(row.lineup, env), "aria-label": `${many(row.summary.episodes, "episode")} of ${row.lineup}` }, number(row.summary.episodes)),
        ];
      }));
  }

  const said = (view, env, lineup) => view.said.find((s) => s.kind === "comparison" && s.env === env && s.candidate === lineup)?.word || "";

  function orders(r, env) {
    const rows = r.rows.filter((row) => row.env === env).flatMap((row) => Object.entries(row.orders).map(([order, s]) => [row.lineup, order, number(s.mean.value), `${s.distinct ?? ""} of ${s.episodes}`]));
    return rows.length > 0 && h("details", {}, h("summary", {}, "Seat orders, one by one"), plainTable("Each seat order alone", [["Lineup"], ["Order"], ["Mean", true], ["Distinct", true]], rows));
  }

  function controls(view, env) {
    const rows = view.result.rows.filter((row) => row.env === env && row.role);
    return (rows.length > 0 || view.result.notes.length > 0) && [h("h2", {}, "Controls and notes"), h("ul.notes", {},
      rows.map((row) => h("li", {}, `${row.role.replace("control: ", "")}: ${row.lineup}, ${view.means[`${env}/${row.lineup}`]}`)), view.result.notes.map((n) => h("li", {}, n)))];
  }

  // -- participants --------------------------------------------------------------------------------------
  async function participants() {
    const { result: r } = await result();
    return h("div.stack", {}, r.attendance && h("p", {}, attended(r.attendance)),
      r.asked.length > 0 ? [h("p.quiet", {}, "Means over participants with their intervals; differences with the first or the baseline partner, Holm-adjusted."), r.asked.map(asked)] : h("p.quiet", {}, "The study asks its participants nothing, or nobody has answered yet."));
  }

  // -- plots ---------------------------------------------------------------------------------------------
  async function plotTab(plot) {
    const view = await result();
    await choose();
    const asked = { env: chosen.env, metric: chosen.metric };
    const found = await get(path`/runs/${run}/plots/${plot}`, asked);
    const table = { cost: costs, faults: faults, scores }[plot]?.(view, chosen.env);
    if (!found.svg) return h("div", {}, h("p.quiet", {}, found.said), table);
    const drawn = figure(found.said, found.svg, { name: `${run}-${plot}`, csv: link(path`/runs/${run}/plots/${plot}.csv`, asked) });
    const svg = drawn.querySelector("svg");
    if (plot === "payoff") { // wider than a phone: it scrolls by itself
      const box = h("div.heatbox", { tabIndex: 0, role: "region", "aria-label": found.title });
      svg.replaceWith(box);
      box.append(svg);
      svg.style.minWidth = svg.dataset.wide || "";
    }
    return h("div", {}, drawn, table);
  }

  function costs(view, env) {
    const usd = (m) => (m === null ? "no price" : number(m, m < 1 ? 4 : 2));
    return plainTable("What all episodes of a lineup spent", [["Lineup"], ["Episodes", true], ["Calls", true], ["Tokens in", true], ["Tokens out", true], ["Model CPU time", true], ["Price (USD)", true], ["Time", true]],
      view.result.rows.filter((row) => row.env === env).map(({ lineup, summary, costs: c }) => [lineup, number(summary.episodes), number(c.calls), number(c.tok_in), number(c.tok_out), c.cpu_s ? duration(c.cpu_s) : "0", usd(c.money), duration(c.wall_s)]));
  }

  function faults(view, env) {
    return plainTable("Summed over seats and episodes", [["Lineup"], ["Decisions", true], ["Fallbacks", true], ["Flag"], ["Invalid", true], ["Repairs", true], ["Timeouts", true], ["Errors", true], ["Held", true], ["How episodes ended"]],
      view.result.rows.filter((row) => row.env === env).map(({ lineup, statuses, costs: c }) => [lineup, number(c.decisions), number(c.fallbacks), c.flagged && h("span.badge.flag", {}, "over the limit"), number(c.invalid), number(c.repairs), number(c.timeouts), number(c.errors), number(c.held), Object.entries(statuses).map(([k, n]) => `${k} ${number(n)}`).join(", ")]));
  }

  // -- progress and provenance ---------------------------------------------------------------------------
  function cells() {
    return plainTable("Every environment with every ordered lineup", [["Order"], ["Lineup"], ["Environment"], ["Role"], ["Episodes"], ["How they ended"]],
      head.cells.map((c) => [
        h("a", { href: episodesOf(c.lineup, c.env) }, c.order), c.lineup, c.env, c.role,
        h("div.progress", {}, progressOf({ state: c.done >= c.planned ? "done" : "open", episodes: c.done, planned: c.planned })), Object.entries(c.statuses).map(([k, n]) => `${k} ${number(n)}`).join(", "),
      ]));
  }

  function about() {
    const facts = {
      metric: head.metric, baseline: head.baseline, margin: `${head.margin}: smaller differences count as tied`,
      blocks: `${number(head.blocks)}, met by all lineups; ${many(head.replicates, "replicate")} each; root seed ${head.root}`,
      intervals: `${number(100 * head.level)} %, over blocks; comparisons with the baseline are one family, adjusted by Holm's steps`,
      digest: h("code", {}, head.digest), "wall time": duration(head.costs.wall_s),
    };
    return h("div", {},
      h("dl.facts", {}, Object.entries(facts).map(([k, v]) => v && [h("dt", {}, k), h("dd", {}, v)])),
      head.marks.length > 0 && [h("h2", {}, "Marks"), h("ul.notes", {}, head.marks.map((m) => h("li", {}, m)))],
      h("h2", {}, "Agents"), plainTable("The agents, and what they are", [["Agent"], ["What it is"], ["Type"]], head.agents.map((a) => [a.name, a.words, h("code", {}, a.type)])),
      h("h2", {}, "Played on"), head.sources.map((s) => h("dl.facts", {}, Object.entries(s).filter(([k, v]) => typeof v === "string" && k !== "study").map(([k, v]) => [h("dt", {}, MACHINE[k] || k.replaceAll("_", " ")), h("dd", {}, v)]))),
      h("h2", {}, "The study, as resolved"), h("pre", { tabIndex: 0 }, head.toml));
  }

  heading();
  const drawn = draw();

  // A run that goes on: the head at once, what it says now and then, but never under the reader's hands.
  let due = 0, took = 0;
  async function look() {
    due = 0;
    const began = performance.now();
    head = await get(path`/runs/${run}`).catch(() => head);
    const fresh = get(path`/runs/${run}/result`, { metric: chosen.metric });
    await fresh.catch(() => null); // what was shown stays until this is there
    loading = fresh;
    const kept = holder.contains(document.activeElement) || !document.getSelection().isCollapsed;
    if (!kept) await draw();
    heading();
    took = performance.now() - began;
  }
  const stop = listen("/events", async (kind, row) => {
    if (kind === "hello") row = (await get(path`/runs/${run}`).catch(() => head)).row; // it may have changed while nobody listened
    else if (kind !== "run") return;
    else delete row.new;
    if (JSON.stringify(row) === JSON.stringify(head.row)) return;
    head.row = row;
    heading();
    due ||= setTimeout(look, Math.max(AGAIN, 4 * took));
  }, { run });
  await drawn;
  return () => { stop(); clearTimeout(due); };
}
