// Models: what is here, what each can really do, how fast it is, what tokens cost.

import { get, path, post } from "../api.js";
import { fill, h, style } from "../dom.js";
import { curve } from "../graph.js";
import { taskPanel } from "../task.js";
import { attempt, bytes, many, number, tell } from "../ui.js";

const STATE = { here: ["good", "\u2713 here"], "not here": ["", "not here"], damaged: ["bad", "\u2717 damaged: another size than it should have"] };
const digits = (v) => number(Number(v.toPrecision(3)));
const price = (v) => (v === null || v === undefined ? "" : v.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 }));
const day = (s) => new Date(s * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
const range = (r, unit) => (r ? `${digits(r.median)} [${digits(r.low)}, ${digits(r.high)}] ${unit}` : "not measurable");

export async function show(root) {
  style("rooms");
  const panels = new Map(); // what is followed, by task
  const tasks = h("div"), body = h("div");
  const follow = (task) => {
    if (panels.has(task.id)) return;
    const panel = taskPanel(task, async (end) => {
      if (end.state === "done") tell(`${end.kind} ${end.title} is done`);
      await draw();
    });
    panels.set(task.id, panel);
    tasks.prepend(panel.element);
  };
  async function draw() {
    const told = await get("/models");
    fill(body, told.trouble.map((t) => h("p.error", {}, t)), local(told, follow), endpoints(told, follow), prices(told));
    for (const one of [...told.local, ...told.endpoints]) if (one.going) follow(one.going);
  }
  fill(root, h("h1", {}, "Models"), h("p.quiet", {}, "Generators behind agents. What one can really do is seen by asking it (probe); how fast it is, by measuring (bench)."), tasks, body);
  await draw();
  return () => panels.forEach((p) => p.leave());
}

function local(told, follow) {
  return [h("h2", {}, "On this machine"),
    told.local.length ? told.local.map((m) => h("article.panel.model", {},
      h("div.row.apart", {}, h("h3", {}, m.name), h("span.row", {}, h("span.badge", { class: STATE[m.state][0] }, STATE[m.state][1]), m.state === "here" && !m.backend && h("span.badge.flag", {}, "llama.cpp is not installed: pip install 'crossplay[local]'"))),
      h("p", {}, m.about),
      h("dl.facts", {}, h("dt", {}, "Size"), h("dd", {}, bytes(m.size)), h("dt", {}, "Context"), h("dd", {}, m.context ? `${number(m.context)} tokens` : "not known"), h("dt", {}, "Licence"), h("dd", {}, m.licence || "not known"), h("dt", {}, "SHA-256"), h("dd.mono", {}, m.sha256)),
      m.state === "here" ? buttons(m.name, m.name, m.backend, follow) : h("p.fine", {}, "Get it: ", h("code", {}, `crossplay models pull ${m.name}`)),
      seen(m.probe), speed(m.bench))) : h("p", {}, "None is known. Register a file: ", h("code", {}, "crossplay models add FILE.gguf"))];
}

function endpoints(told, follow) {
  return [h("h2", {}, "Endpoints"),
    h("p.quiet", {}, "Those that studies of the runs here name. Keys are read from variables of the environment and are never shown or kept."),
    told.endpoints.length ? told.endpoints.map((e) => h("article.panel.model", {},
      h("h3", {}, e.model || e.name), h("p.mono", {}, e.url),
      h("p.fine", {}, e.key_env ? ["key in the variable ", h("code", {}, e.key_env)] : "no key", `; named in ${many(e.runs.length, "run")}: `, e.runs.slice(0, 5).map((r, i) => [i ? ", " : "", h("a", { href: path`/runs/${r}` }, r)]), e.runs.length > 5 ? " ..." : ""),
      e.asks ? buttons(e.id, e.model, true, follow) : h("p.fine", {}, "Ask it from the command line: ", h("code", {}, `crossplay models probe ${e.url}#${e.model || "MODEL"}${e.key_env ? ` --key-env ${e.key_env}` : ""}`)),
      seen(e.probe), speed(e.bench))) : h("p", {}, "No run here names an endpoint. A study does it with ", h("code", {}, "[models.NAME] backend = \"http\""), ".")];
}

function buttons(name, title, can, follow) {
  const start = (button, how, body) => attempt(async () => follow(await post(path`/models/${name}` + how, body)), button);
  const probe = h("button", { disabled: !can, "aria-label": `Probe ${title}`, onclick: () => start(probe, "/probe", {}) }, "Probe");
  const bench = h("button", { disabled: !can, "aria-label": `Measure ${title}`, onclick: () => start(bench, "/bench", {}) }, "Measure");
  return h("div.row", {}, probe, bench);
}

function seen(p) {
  if (!p) return h("p.fine.quiet", {}, "Not probed yet.");
  const kind = { yes: ["good", "\u2713 yes"], no: ["", "\u2717 no"], unclear: ["flag", "? unclear"] };
  return h("details", {}, h("summary", {}, `What it can do, seen on ${p.when}: `, p.findings.filter((f) => f.found === "yes").map((f) => f.name.replaceAll("_", " ")).join(", ") || "nothing beyond plain text"),
    p.broken.length > 0 && h("p.error", {}, `Declared, but seen not to work: ${p.broken.join(", ")}`),
    h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, ["What", "Works", "Seen"].map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, p.findings.map((f) => h("tr", {}, h("th", { scope: "row" }, f.name.replaceAll("_", " ")), h("td", {}, h("span.badge", { class: kind[f.found][0] }, kind[f.found][1])), h("td", {}, f.said)))))));
}

function speed(b) {
  if (!b) return h("p.fine.quiet", {}, "Not measured from here yet.");
  const w = b.whole;
  const rows = [["Prompt", range(w.prompt_s, "tokens/s")], w.prompt_cpu && ["Prompt, per CPU second", range(w.prompt_cpu, "tokens/CPU s")], ["Answer", range(w.answer_s, "tokens/s")], w.answer_cpu && ["Answer, per CPU second", range(w.answer_cpu, "tokens/CPU s")], ["Long prompt, new", range(w.first_s, "s")], [`The same beginning again (${number(100 * w.cached, 0)} % cached)`, range(w.later_s, "s")]].filter(Boolean);
  const points = w.levels.filter((l) => l.tokens_s).map((l) => [l.at_once, l.tokens_s.median, l.tokens_s.low, l.tokens_s.high]);
  return h("details", { open: true }, h("summary", {}, `Speed, measured ${day(b.at)}: median [range] of ${w.repeats}`),
    h("dl.speeds", {}, rows.map(([what, v]) => [h("dt", {}, what), h("dd", {}, v)])),
    points.length > 1 && h("figure", {}, h("figcaption", {}, "Tokens of answer a second over all calls, by calls at a time; lines: range"), curve([{ name: "all answers", points }], { x: "calls at a time", y: "tokens/s", zero: true, log2: true })));
}

function prices(told) {
  return [h("h2", {}, "Prices"), h("p.quiet", {}, "USD per million tokens, as the price table of this installation says; a run keeps the prices that it was counted with. A model that is not here is never taken to be free."),
    h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Model"), ["In", "Out", "Read from cache"].map((t) => h("th.number", { scope: "col" }, t)), h("th", { scope: "col" }, "As of"), h("th", { scope: "col" }, "Source"))),
      h("tbody", {}, told.prices.map((p) => h("tr", {}, h("th", { scope: "row" }, p.model), [p.input, p.output, p.cache_read].map((v) => h("td.number", {}, price(v))), h("td.nowrap", {}, p.date), h("td", {}, /^https:/.test(p.source) ? h("a", { href: p.source, rel: "noreferrer", target: "_blank" }, new URL(p.source).hostname) : p.source))))))];
}
