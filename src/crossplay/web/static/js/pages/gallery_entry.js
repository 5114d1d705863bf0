// One entry: claims, check, trials, text; and "run it".

import { get, path, post } from "../api.js";
import { fill, h, style } from "../dom.js";
import { taskPanel } from "../task.js";
import { attempt, caption, crumbs, interval, number, tabs, tell } from "../ui.js";
import { status } from "./gallery.js";

const MARKS = { A: "abstract", S: "published source", P: "public page" };
const value = (f) => interval({ value: f.value, low: f.low, high: f.high }, 4);
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
const three = (v) => interval({ value: v[0], low: v[1], high: v[2] });

export async function show(root, { parts: { entry } }) {
  style("rooms");
  const where = path`/gallery/${entry}`;
  let told = await get(where);
  let panel = null;
  const doing = h("div"), line = h("p.row"), body = h("div");
  const follow = (task) => {
    panel?.leave();
    panel = taskPanel(task, async (end) => {
      if (end.state === "done") tell(`${end.kind} ${end.title} is done`);
      told = await get(where);
      draw();
    });
    fill(doing, panel.element);
  };
  const draw = () => {
    fill(line, status(told.head.check, told.head.going));
    fill(body, tabs([["about", "About", () => about(told)], ["check", "Check", () => check(told)], ["trials", `Trials (${told.trials.length})`, () => trials(told)], ["text", "Read more", () => h("div.readme", {}, readme(told.readme))]], tab, (key) => { tab = key; }, "About the entry"));
  };
  let tab = "about";
  fill(root, crumbs(["/gallery", "Gallery"], [null, entry]), h("h1", {}, told.head.title), h("p.quiet", {}, told.head.source), line, run(told, where, follow), doing, body);
  draw();
  if (told.head.going) follow(told.head.going);
  else {
    const last = (await get("/tasks")).tasks.find((t) => t.about === `gallery ${entry}`);
    if (last) follow(last);
  }
  return () => panel?.leave();
}

/** "Run it": the check, or the trial with a model that is here. */
function run(told, where, follow) {
  const start = (button, how, body) => attempt(async () => follow(await post(where + how, body)), button);
  const checking = h("button.main", { onclick: () => start(checking, "/check", {}) }, "Run the check");
  const kept = told.trials.some((t) => t.replays);
  const again = kept && h("button", { onclick: () => start(again, "/run", { tier: 1, replay: true }) }, "Replay the kept trial");
  if (!told.head.tries) return h("div.row", {}, checking, h("span.quiet.fine", {}, "It has no trial with models."));
  const model = h("select", { id: "model" }, told.asks.every((m) => told.models.includes(m)) && h("option", { value: "" }, `as made for: ${told.asks.join(", ")}`), told.models.map((m) => h("option", { value: m }, m)));
  const n = h("input", { id: "n", type: "number", min: 2, max: 10000, placeholder: String(told.n) });
  const trying = h("button", { disabled: !told.models.length, onclick: () => start(trying, "/run", { tier: 1, model: model.value, n: n.value ? Number(n.value) : null }) }, "Try it");
  return h("div.stack", {}, h("div.row", {}, checking, again),
    h("details", {}, h("summary", {}, "Try the claim with a local model"),
      told.models.length ? h("div.row.try", {}, h("div", {}, h("label", { for: "model" }, "Model"), model), h("div", {}, h("label", { for: "n" }, "Blocks"), n), trying) : h("p", {}, "No local model is here. Get one: ", h("code", {}, "crossplay models pull smollm2-135m")),
      h("p.fine.quiet", {}, "This may take hours on a small machine. With an endpoint, from the command line, because it may cost money: ", h("code", {}, `crossplay gallery run ${told.head.name} --tier 2 --model http://HOST/v1#MODEL`))));
}

function about(told) {
  return h("div", {}, h("p", {}, inline(told.about)),
    h("h2", {}, "Claims"), h("ul", {}, told.claims.map((c) => h("li", {}, inline(c.text), " ", h("span.quiet", {}, c.tiers.length ? `(spoken of at tier ${c.tiers.join(", ")})` : "(not tried here)")))),
    told.figures.length > 0 && [h("h2", {}, "Published figures"), h("ul", {}, told.figures.map((f) => h("li", {}, f.text, " ", h("span.quiet", {}, `(${MARKS[f.mark]})`))))],
    told.missing && [h("h2", {}, "Not here"), h("p", {}, inline(sentence(told.missing)))],
    h("h2", {}, "What the check must notice"), h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, ["Part", "Switched off by", "Then fails"].map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, told.parts.map((p) => h("tr", {}, h("th", { scope: "row" }, p.name), h("td", {}, h("code", {}, Object.entries(p.off).map(([k, v]) => `${k} = ${JSON.stringify(v)}`).join(", "))), h("td", {}, p.breaks.join("; "))))))));
}

function check(told) {
  const c = told.checked;
  if (!c) return h("p.quiet", {}, told.head.check?.why || "It was not checked from here yet. Run the check: it takes seconds and no model.");
  return h("div", {}, c.faults.map((f) => h("p.error", {}, f)), findings(c.findings, `Mechanism, ${number(c.seconds, 1)} s`),
    h("h2", {}, "Switched off"), Object.entries(c.off).map(([name, off]) => h("p", {}, h("strong", {}, `${name} off: `), "fails as it must: ", off.filter((f) => !f.holds).map((f) => f.name).join("; ") || "nothing")));
}

function findings(list, about) {
  if (!list.length) return null;
  return h("div.scroll", {}, h("table", {}, caption(about), h("thead", {}, h("tr", {}, ["Finding", "Verdict", "Value", "Had to be", "Compared with"].map((t, i) => h(i === 2 ? "th.number" : "th", { scope: "col" }, t)))),
    h("tbody", {}, list.map((f) => h("tr", {}, h("th", { scope: "row" }, f.says, f.null && [" ", h("span.badge", {}, "null: no effect may show")]), h("td", {}, h("span.badge", { class: f.holds ? "good" : "bad" }, f.holds ? "\u2713 holds" : "\u2717 does not hold")), h("td.number", {}, value(f)), h("td", {}, f.bound), h("td", {}, f.reference))))));
}

function trials(told) {
  if (!told.trials.length) return h("p.quiet", {}, told.head.tries ? "No trial with models was kept or made here." : "It has no trial with models.");
  return h("div", {}, told.trials.map((t) => h("section", {}, h("h2", {}, `Tier ${t.tier}, ${t.models.join(", ")}, ${t.n} blocks: ${t.verdict}`),
    h("p.quiet", {}, `${t.date}, on ${t.whole.cpu}, ${t.where === "kept" ? "kept with the entry" : `in gallery/${t.where}`}: `, h("code", {}, t.whole.command)),
    h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, ["Level", "Single agent", "Floor", "Ceiling", "Smallest effect found", "Verdict"].map((c) => h("th", { scope: "col" }, c)))),
      h("tbody", {}, t.whole.steps.map((s) => h("tr", {}, h("th", { scope: "row" }, `${s.level}: ${s.about}`), [s.single, s.floor, s.ceiling].map((v) => h("td.nowrap", {}, three(v))), h("td", {}, number(s.mde)), h("td", {}, s.verdict)))))),
    t.whole.steps.map((s) => findings(s.findings, `Level ${s.level}`)),
    t.runs.length > 0 && h("p", {}, "Runs: ", t.runs.map((r, i) => [i ? ", " : "", h("a", { href: path`/runs/${r}` }, r.split("~").at(-1))])))));
}

/** The text of an entry; nothing in it is read as HTML. */
function readme(sections) {
  const part = (p) => p.kind === "code" ? h("pre", { tabIndex: 0 }, p.lines.join("\n"))
    : p.kind === "list" ? h("ul", {}, p.lines.map((l) => h("li", {}, inline(l))))
    : p.kind === "table" ? h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, p.rows[0].map((c) => h("th", { scope: "col" }, inline(c))))), h("tbody", {}, p.rows.slice(1).map((r) => h("tr", {}, r.map((c) => h("td", {}, inline(c))))))))
    : h("p", {}, p.lines.map(inline));
  return sections.map((s) => [s.level > 1 && h(s.level === 2 ? "h2" : "h3", {}, s.title), s.parts.map(part)]);
}

/** `code`, **strong** and [words](https://address) in a line of text. */
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)\s]+\))/).map((t) => {
    if (t.startsWith("`") && t.endsWith("`") && t.length > 1) return h("code", {}, t.slice(1, -1));
    if (t.startsWith("**") && t.endsWith("**") && t.length > 4) return h("strong", {}, t.slice(2, -2));
    const link = t.match(/^\[([^\]]+)\]\((https?:\/\/[^)\s]+)\)$/);
    if (link) return h("a", { href: link[2], rel: "noreferrer", target: "_blank" }, link[1]);
    return t.match(/^\[([^\]]+)\]\([^)]+\)$/)?.[1] ?? t;
  });
}
