// Workers: training jobs and how they go, interpreters, workers that runs met.

import { get, path, post } from "../api.js";
import { fill, h, style } from "../dom.js";
import { curve } from "../graph.js";
import { keep } from "../main.js";
import { attempt, duration, number } from "../ui.js";

const LIVE = ["queued", "running", "stopping"];
const STATE = { running: ["going", "\u25b6 running"], queued: ["going", "\u2026 queued"], stopping: ["flag", "stopping"], done: ["good", "\u2713 done"], failed: ["bad", "\u2717 failed"], cancelled: ["flag", "stopped"], lost: ["bad", "\u2717 lost"] };
const day = (s) => (s ? new Date(s * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "");

export async function show(root, { query }) {
  style("rooms");
  const list = h("div"), detail = h("div"), rest = h("div");
  let chosen = query.job || "", view = null, timer = 0, left = false;
  async function draw() {
    const told = await get("/workers");
    if (left) return;
    fill(list, told.trouble.map((t) => h("p.error", {}, t)), jobs(told.jobs, (id) => choose(id)));
    fill(rest, envs(told.interpreters), seen(told.seen));
    clearTimeout(timer);
    if (told.jobs.some((j) => LIVE.includes(j.state))) timer = setTimeout(() => draw().catch(() => null), 3000);
  }
  async function choose(id, scroll = true) {
    chosen = id;
    keep({ job: id });
    view?.leave();
    view = new JobView(id, draw);
    fill(detail, view.element);
    await attempt(() => view.draw());
    if (scroll) view.element.scrollIntoView({ block: "nearest" });
  }
  fill(root, h("h1", {}, "Workers"),
    h("p.quiet", {}, "Agents and trainers in processes of their own. A worker's command starts only from the command line, never from here: ", h("code", {}, "crossplay run STUDY --trust"), ", ", h("code", {}, "crossplay train ENV --worker NAME"), "."),
    list, detail, rest);
  await draw();
  if (chosen) await choose(chosen, false);
  return () => { left = true; clearTimeout(timer); view?.leave(); };
}

function jobs(found, choose) {
  return [h("h2", {}, "Training jobs"),
    found.length ? h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Job"), h("th", { scope: "col" }, "State"), h("th", { scope: "col" }, "Trains"), h("th", { scope: "col" }, "Decisions"), h("th.number", { scope: "col" }, "Return"), h("th.number", { scope: "col" }, "Starts"), h("th", { scope: "col" }, "Last heard"))),
      h("tbody", {}, found.map((j) => h("tr", {}, h("th", { scope: "row" }, h("button.cell", { onclick: () => choose(j.id) }, j.id)), h("td", {}, badge(j), j.why && h("div.fine.quiet", {}, j.why)), h("td", {}, `${j.name} on ${j.env}`), h("td", {}, progress(j)), h("td.number", {}, number(j.metrics.return, 2)), h("td.number", {}, `${j.starts}`, j.deaths ? h("div.fine", {}, `${j.deaths} died`) : ""), h("td", {}, heard(j)))))))
      : h("p", {}, "No training job is here. Start one from the command line, for instance ", h("code", {}, "crossplay train kitchen/cramped_room --worker sb3 --out RUNS/jobs"), "; a job in the folder ", h("code", {}, "jobs"), " of this server shows up.")];
}

const badge = (j) => h(`span.badge${LIVE.includes(j.state) ? ".going-on" : ""}`, { class: (STATE[j.state] || ["", ""])[0] }, (STATE[j.state] || ["", j.state])[1]);
const progress = (j) => [h("progress", { max: j.steps || 1, value: Math.min(j.step, j.steps), "aria-label": `decisions of ${j.id}` }), h("small.quiet.nowrap", {}, `${number(j.step)} of ${number(j.steps)}`)];
const heard = (j) => (j.heard_s === null ? (j.ended ? h("span.quiet.fine", {}, day(j.ended)) : "") : h("span", { class: j.heard_s > 60 ? "error" : "" }, `${duration(j.heard_s)} ago`, j.heard_s > 60 ? " (long silent)" : ""));

class JobView {
  constructor(id, changed) {
    this.id = id;
    this.changed = changed;
    this.log = "events";
    this.timer = 0;
    this.left = false;
    this.element = h("section.panel.job", { "aria-label": `Job ${id}` }, h("p.quiet", {}, "Loading ..."));
  }

  leave() {
    this.left = true;
    clearTimeout(this.timer);
  }

  async draw() {
    const told = await get(path`/workers/jobs/${this.id}`, { log: this.log, lines: 40 });
    if (this.left) return;
    const { job } = told, live = LIVE.includes(job.state);
    const act = (button, how, body) => attempt(async () => { await post(path`/workers/jobs/${this.id}` + how, body); await this.draw(); await this.changed(); }, button);
    const stop = live && h("button.danger", { disabled: job.state === "stopping", onclick: () => act(stop, "/stop", {}) }, "Stop");
    const again = !live && job.state !== "done" && !job.resumes && h("button", { onclick: () => act(again, "/resume", {}) }, "Go on");
    const log = h("select", { "aria-label": "Log", onchange: () => { this.log = log.value; attempt(() => this.draw()); } }, ["events", "stdout", "stderr", "engine"].map((n) => h("option", { value: n, selected: n === this.log }, n)));
    const focus = document.activeElement?.closest?.(".job") === this.element && document.activeElement.tagName === "SELECT";
    fill(this.element,
      h("div.row.apart", {}, h("h3", {}, job.id), h("span.row", {}, badge(job), stop, again)),
      job.why && h("p", {}, job.why),
      !live && job.state !== "done" && job.resumes && h("p.fine", {}, `It goes on only from the command line, because ${job.resumes}: `, h("code", {}, `crossplay jobs resume ${job.id} --in RUNS/jobs`)),
      h("dl.facts", {}, ...facts({ trains: `${job.name} on ${job.env}${job.seat ? `, seat ${job.seat}` : ""}`, seed: job.seed, decisions: `${number(job.step)} of ${number(job.steps)}`, "last heard": job.heard_s === null ? "" : `${duration(job.heard_s)} ago`, started: day(job.started), ended: live ? "" : day(job.ended), starts: `${job.starts}${job.deaths ? `, ${job.deaths} of them died` : ""}`, events: `${number(job.events)}${job.lost_events ? `, ${job.lost_events} lost` : ""}`, "GPU slots": job.slots.join(", "), checkpoint: job.checkpoint && `${job.checkpoint} (decision ${number(job.checkpoint_step)})`, worker: [told.worker.name, told.worker.version].filter(Boolean).join(" "), settings: Object.keys(told.config).length ? JSON.stringify(told.config) : "", command: told.command })),
      told.died.map((d) => h("p.fine.error", {}, `died: it ${d}`)), told.notes.map((n) => h("p.fine", {}, n)),
      told.curves.length > 0 && h("div.curves", {}, told.curves.map((c) => h("figure", {}, h("figcaption", {}, `${c.name}: ${number(c.points.at(-1)[1])}`), curve([{ name: c.name, points: c.points }], { x: "decisions", y: c.name, width: 400, height: 190 })))),
      h("div.row", {}, h("strong", {}, "Log"), log), h("pre.log", { tabIndex: 0, "aria-label": "End of the log" }, told.log.join("\n") || "Nothing yet."));
    if (focus) log.focus();
    this.element.querySelector("pre.log").scrollTop = 1e9;
    clearTimeout(this.timer);
    if (live) this.timer = setTimeout(() => this.draw().catch(() => null), 2000);
  }
}

const facts = (of) => Object.entries(of).filter(([, v]) => v !== "" && v !== null && v !== undefined).map(([k, v]) => [h("dt", {}, k), h(k === "command" ? "dd.mono" : "dd", {}, String(v))]);

function envs(found) {
  return [h("h2", {}, "Interpreters"), h("p.quiet", {}, "Virtual environments for workers, where the server was started."),
    found.length ? h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, ["Name", "State", "Python", "Made for", "Interpreter"].map((t) => h("th", { scope: "col" }, t)))),
      h("tbody", {}, found.map((e) => h("tr", {}, h("th", { scope: "row" }, e.name), h("td", {}, h("span.badge", { class: e.state === "ready" ? "good" : e.kit ? "bad" : "" }, e.state === "ready" ? "\u2713 ready" : e.state)), h("td", {}, e.python === "?" ? "not known" : e.python), h("td", {}, e.packages.join(", ") || e.requirements || (Object.keys(e.installed).length ? `${Object.keys(e.installed).length} packages` : "")), h("td.mono", {}, e.interpreter))))))
      : h("p", {}, "None yet. Make one: ", h("code", {}, "crossplay worker env create NAME --package stable-baselines3"))];
}

function seen(found) {
  return [h("h2", {}, "Workers met in runs"),
    found.length ? found.map((w) => h("article.panel.job", {}, h("h3", {}, w.agent, h("span.quiet", {}, ` ${[w.worker, w.version].filter(Boolean).join(" ")}`)),
      h("dl.facts", {}, ...facts({ command: w.command, files: Object.entries(w.files).map(([n, d]) => `${n} ${d}`).join(", "), framework: Object.entries(w.framework).map(([k, v]) => `${k} ${typeof v === "object" ? JSON.stringify(v) : v}`).join(", "), wire: w.wire })),
      h("p.row", {}, h("span", {}, `${number(w.episodes)} episodes`), w.wall_s > 0 && h("span", { title: "Over whole episodes, with the other seats and the engine" }, `${number(w.decisions)} decisions, at least ${number(w.decisions / w.wall_s, w.decisions < 10 * w.wall_s ? 1 : 0)} a second`), count(w.voids, "played again after something went away"), count(w.retries, "retries"), count(w.late, "late answers"), count(w.faults, "moves served in its place"), !(w.voids + w.retries + w.late + w.faults) && h("span.badge.good", {}, "\u2713 no faults, none played again")),
      h("p.fine", {}, "Runs: ", w.runs.slice(0, 8).map((r, i) => [i ? ", " : "", h("a", { href: path`/runs/${r}` }, r)]), w.runs.length > 8 ? ` and ${w.runs.length - 8} more` : "")))
      : h("p", {}, "No run here had a worker in a seat. A study names one with ", h("code", {}, 'type = "worker", command = ["python", "mine.py"]'), " and is run with ", h("code", {}, "--trust"), ".")];
}

const count = (n, what) => (n ? h("span.badge.flag", {}, `${number(n)} ${what}`) : null);
