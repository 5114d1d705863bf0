// A new study: a form beside the text that it writes. What is wrong is said while it is written, by the server; what the
// form has no field for is kept and shown in the text.

import { get, path, post } from "../api.js";
import { calm, fill, h, style } from "../dom.js";
import { Fields, choose, count, leaves, properties, tick, type, worded } from "../form.js";
import { attempt, duration, many, number, tell } from "../ui.js";

const EMPTY = { study: { name: "study", blocks: 20, margin: 1, template: "mix" }, environments: {}, agents: {}, lineups: {} };
const WORDS = { // settings of a study; those of environments and agents are worded from their schemas
  level: "Level of the intervals", root: "Root seed", concurrency: "Episodes at a time", zero_message: "Without messages", equal_cost: "Equal cost", single: "One conversation",
  dev: "Blocks to choose the best member", calls: "Calls", tokens: "Tokens", money: "Price (USD)", wall_s: "Time (seconds)",
};
const KEPT = "crossplay new study"; // of this tab, until it is started

export async function show(root, { query }) {
  style("form");
  fill(root, h("h1", {}, "New study"), h("p.quiet", {}, "Looking at what is installed ..."));
  const envs = get("/schemas/environments"); // takes a moment when it is first asked for: libraries are loaded
  const [kinds, shapes] = await Promise.all([get("/schemas/agents"), get("/schemas/studies")]);
  const page = new Page(root, kinds, shapes);
  await page.begin(query);
  envs.then((found) => page.offer(found.families), (error) => tell(error.message, "bad"));
  return () => page.leave();
}

const slug = (name) => String(name || "").toLowerCase().replace(/[^a-z0-9_.-]+/g, "-").replace(/^[^a-z0-9]+|-+$/g, "").slice(0, 80);

class Page {
  constructor(root, kinds, shapes) {
    Object.assign(this, { root, families: null, kinds, shapes, fields: new Fields(), forms: {}, made: new Map(), draft: null, asked: 0 });
    this.typed = ""; // text that somebody wrote, as long as the form has not changed it
    this.check = calm(() => this.validate(), 250);
    this.read = calm(() => this.readText(), 400);
  }

  async begin(query) {
    let text = "";
    if (query.run) text = (await get(path`/runs/${query.run}`)).toml;
    else if (query.example) text = this.shapes.examples.find((e) => e.name === query.example)?.toml || "";
    const kept = text ? null : JSON.parse(sessionStorage.getItem(KEPT) || "null");
    this.data = kept?.data || structuredClone(EMPTY);
    this.typed = text || kept?.typed || "";
    this.name = query.run ? `${query.run}-2` : kept?.name || "";
    if (query.env) this.data.environments[query.env] = { name: query.env };
    this.frame();
    if (text) await this.readText();
    if (query.run) this.typed = ""; // a run keeps its study written out in full; the form says it shorter
    if (query.run) this.validate();
    if (!text) {
      await this.draw();
      this.validate();
    }
  }

  /** The environments are known now. */
  offer(families) {
    this.families = families;
    if (this.form.isConnected) this.redraw();
  }

  leave() {
    this.asked++;
    clearTimeout(this.watching);
  }

  // -- the frame ---------------------------------------------------------------------------------------------------
  frame() {
    const begin = h("select", { id: "begin", onchange: () => { const found = this.shapes.examples.find((e) => e.name === begin.value); if (found) this.take(found.toml); else if (begin.value === "empty") this.take(""); } },
      h("option", { value: "" }, "go on with what is here"), h("option", { value: "empty" }, "an empty study"), this.shapes.examples.map((e) => h("option", { value: e.name }, `${e.name}: ${e.about}`)));
    this.form = h("div.stack");
    this.said = h("div.said", { role: "status" }, h("p.quiet", {}, "Checking ..."));
    this.plan = h("div.planned");
    this.text = h("textarea.mono.toml", { id: "toml", spellcheck: "false", rows: 22, "aria-describedby": "toml-help", oninput: () => { this.typed = this.text.value; this.read(); } });
    this.kept = h("p.quiet");
    this.run = h("input", { id: "run-name", type: "text", autocomplete: "off", spellcheck: "false", pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]{0,79}", oninput: () => { this.name = this.run.value; this.keepDraft(); } });
    this.start = h("button.main", { type: "button", disabled: true, onclick: () => this.launch() }, "Start");
    this.going = h("div");
    fill(this.root,
      h("h1", {}, "New study"),
      h("p", {}, "Fill in what is to be played; the study file is written beside it. Agents of your own code, workers, files and endpoints with keys start only from the command line, with this file."),
      h("div.field.begin", {}, h("label", { for: "begin" }, "Begin with"), begin),
      h("div.writing", {},
        this.form,
        h("div.beside.stack", {},
          h("section.panel", { "aria-labelledby": "plan-title" }, h("h2", { id: "plan-title" }, "What it will play"), this.said, this.plan,
            h("div.row.starting", {}, h("div", {}, h("label", { for: "run-name" }, "Name of the run"), this.run), this.start), this.going),
          h("section.panel", { "aria-labelledby": "text-title" },
            h("div.row.apart", {}, h("h2", { id: "text-title" }, "The study file"), h("span.row", {}, h("button", { type: "button", onclick: () => this.copy() }, "Copy"), h("button", { type: "button", onclick: () => this.download() }, "Download"))),
            h("label.unseen", { for: "toml" }, "The study as TOML"), this.text,
            h("small.help", { id: "toml-help" }, "Paste or change text here: the form follows."), this.kept))));
    this.run.value = this.name ||= slug(this.data.study?.name) || "study";
  }

  // -- the form ------------------------------------------------------------------------------------------------------
  async draw() {
    const d = this.data;
    for (const part of ["study", "environments", "agents", "lineups"]) d[part] ||= {};
    // Only what the check could make has a form; what is wrong with the others it says.
    await Promise.all(Object.entries(d.environments).filter(([label, e]) => this.made.get(label) === e.name && !this.forms[e.name]).map(async ([, e]) => {
      // Some can be made only with options that have no default: their options are written as text.
      this.forms[e.name] = await get(`/schemas/environments/${encodeURIComponent(e.name)}`).catch(() => null);
    }));
    this.fields.clear();
    fill(this.form, this.head(), this.environments(), this.agents(), this.lineups(), this.rest());
    if (this.draft) this.fields.say(this.draft.problems);
  }

  /** Something was set: write the text anew and check it. */
  changed(again = false) {
    if (this.typed.includes("#") && !this.warned) {
      this.warned = true;
      tell("The form writes the text anew; comments are not kept.");
    }
    this.typed = "";
    this.keepDraft();
    if (again) this.draw();
    this.check();
  }

  set(table, name, value) {
    if (value === undefined) delete table[name];
    else table[name] = value;
    this.changed();
  }

  section(title, about, ...parts) {
    const id = `part-${title.toLowerCase().replaceAll(" ", "-")}`;
    return h("section.part", { "aria-labelledby": id }, h("h2", { id }, title), about && h("p.quiet", {}, about), parts);
  }

  head() {
    const s = this.data.study;
    return this.section("Question", "",
      this.fields.add(["study", "name"], "Name", (a) => type(a, s.name, (v) => { const same = !this.name || this.name === slug(s.name); this.set(s, "name", v); if (same) this.run.value = this.name = slug(v); })),
      this.fields.add(["study", "description"], "What is asked", (a) => { const found = h("textarea", { ...a, rows: 2, oninput: () => this.set(s, "description", found.value || undefined) }, s.description || ""); return found; }));
  }

  environments() {
    const families = this.families || [];
    const names = families.flatMap((f) => (f.names.length ? f.names.map((n) => full(f.family, n)) : f.error ? [] : [f.open ? `${f.family}:` : f.family]));
    const cards = Object.entries(this.data.environments).map(([label, table]) => {
      const form = this.forms[table.name];
      const at = ["environments", label];
      table.options ||= {};
      const options = form ? properties(this.fields, [...at, "options"], form.options, table.options, (name, value) => this.set(table.options, name, value), {}, form.elsewhere) : [];
      return this.card(`environment ${label}`, () => { delete this.data.environments[label]; this.changed(true); },
        this.fields.add([...at, "name"], "Environment", (a) => { const found = type(a, table.name, () => {}, names); found.addEventListener("change", () => this.renameEnv(label, table, found.value.trim())); return found; }),
        form && h("details.about", {}, h("summary", {}, `${many(form.seats.length, "seat")}: ${form.seats.join(", ")}`), h("p", {}, form.about), h("p.quiet", {}, `views: ${Object.keys(form.views).join(", ")}; scores: ${Object.keys(form.scores).join(", ")}`)),
        form && h("details", { open: Object.keys(table.options).length > 0 }, h("summary", {}, `Options (${Object.keys(form.options.properties).length})`), h("div.fields", {}, options),
          form.elsewhere.length > 0 && h("p.quiet", {}, `Only in a file on this machine: ${form.elsewhere.join(", ")}.`)),
        form && h("details", { open: Boolean(table.clock && table.clock !== "wait") }, h("summary", {}, `Clock: ${table.clock || "wait"}`), this.fields.add([...at, "clock"], "Clock", (a) => type({ ...a, placeholder: "wait" }, table.clock, (v) => this.set(table, "clock", v), form.clock.examples), { about: form.clock.description })));
    });
    const add = h("select", { id: "add-env", "aria-label": "Add an environment", disabled: !this.families, onchange: () => this.addEnv(add.value) }, h("option", { value: "" }, this.families ? "Add an environment ..." : "Looking at what is installed ..."),
      families.map((f) => h("optgroup", { label: f.error ? `${f.family} (not usable here)` : f.family }, (f.names.length ? f.names.slice(0, 400) : [""]).map((n) => { const name = n ? full(f.family, n) : f.open ? `${f.family}:` : f.family; return h("option", { value: name, disabled: Boolean(f.error) || (f.family === "agentgym") }, f.open && !n ? `${f.family}: any id` : name); }))));
    return this.section("Environments", "", cards, cards.length === 0 && h("p.quiet", {}, "None yet: choose the world that is to be played."), add);
  }

  addEnv(name) {
    if (!name) return;
    let label = name.replace(/:$/, "") || name;
    for (let k = 2; this.data.environments[label]; k++) label = `${name} ${k}`;
    this.data.environments[label] = { name };
    this.changed(true);
  }

  renameEnv(label, table, name) {
    table.name = name;
    if (Object.keys(table.options || {}).length) table.options = {};
    const list = Object.entries(this.data.environments).map(([k, v]) => [k === label && !this.data.environments[name] ? name : k, v]);
    this.data.environments = Object.fromEntries(list);
    this.changed(true);
  }

  agents() {
    const usable = this.kinds.agents.filter((k) => k.plain && !k.error);
    const known = { agents: [...Object.keys(this.data.agents), ...usable.filter((k) => k.after === "nothing").map((k) => k.type)], models: [...Object.keys(this.data.models || {}), ...this.kinds.models.map((m) => m.name)], protocols: this.shapes.protocols, topologies: this.shapes.topologies };
    const cards = Object.entries(this.data.agents).map(([name, table]) => {
      const at = ["agents", name];
      const [kind, after] = split(table.type || "");
      const form = this.kinds.agents.find((k) => k.type === kind);
      const set = (option, value) => this.set(table, option, value);
      const offered = form && (form.after === "names" ? form.names : form.after === "model" ? known.models : form.after === "agent" ? known.agents.filter((n) => n !== name) : []);
      const options = form ? properties(this.fields, at, form.options, table, set, { ...known, agents: known.agents.filter((n) => n !== name) }, form.elsewhere.concat(form.after === "model" ? ["model"] : [])) : [];
      const given = Object.keys(table).filter((k) => k !== "type").length;
      return this.card(`agent ${name}`, () => { delete this.data.agents[name]; this.changed(true); },
        h("div.fields", {},
          this.fields.add(at, "Name", (a) => { const found = type(a, name, () => {}); found.addEventListener("change", () => this.renameAgent(name, found.value.trim())); return found; }),
          this.fields.add([...at, "type"], "Type", (a) => choose(a, this.kinds.agents.map((k) => [k.type, k.plain ? k.type : `${k.type} (command line only)`, !k.plain]), kind, (v) => { this.data.agents[name] = { type: v }; this.changed(true); }), { about: form?.about || "" }),
          form && form.after !== "nothing" && this.fields.add([...at, "type", "after"], { model: "Model", agent: "Agent", names: "Variant", words: "Variant" }[form.after], (a) => type(a, after, (v) => this.set(table, "type", v ? `${kind}:${v}` : kind), offered.length ? offered : null))),
        options.length > 0 && h("details", { open: given > 0 || kind === "team" }, h("summary", {}, `Options (${options.length})`), h("div.fields", {}, options,
          this.fields.add([...at, "skills"], "Skills", (a) => tick(a, table.skills, (v) => set("skills", v || undefined)), { inline: true, about: "chooses among the environment's skills instead of single moves" })),
          form.elsewhere.length > 0 && h("p.quiet", {}, `Only in a file on this machine: ${form.elsewhere.join(", ")}.`)));
    });
    const add = h("select", { id: "add-agent", "aria-label": "Add an agent", onchange: () => this.addAgent(add.value) }, h("option", { value: "" }, "Add an agent ..."),
      this.kinds.agents.map((k) => h("option", { value: k.type, disabled: !k.plain || Boolean(k.error) }, k.plain ? `${k.type}: ${k.about.slice(0, 70)}` : `${k.type} (command line only)`)));
    return this.section("Agents", "", cards, cards.length === 0 && h("p.quiet", {}, "None yet: choose who is to sit in the seats."), add);
  }

  addAgent(kind) {
    if (!kind) return;
    let name = kind;
    for (let k = 2; this.data.agents[name]; k++) name = `${kind}-${k}`;
    const form = this.kinds.agents.find((k) => k.type === kind);
    this.data.agents[name] = { type: form.names[0] ? `${kind}:${form.names[0]}` : form.after === "model" ? `${kind}:${(this.kinds.models.find((m) => m.here) || this.kinds.models[0]).name}` : kind };
    if (kind === "team") this.data.agents[name] = { type: "team" };
    this.changed(true);
  }

  renameAgent(old, name) {
    if (!name || name === old || this.data.agents[name]) return this.draw();
    this.data.agents = Object.fromEntries(Object.entries(this.data.agents).map(([k, v]) => [k === old ? name : k, v]));
    for (const table of Object.values(this.data.agents)) if (Array.isArray(table.members)) table.members = table.members.map((m) => (m === old ? name : m));
    for (const table of Object.values(this.data.lineups)) if (Array.isArray(table.seats)) table.seats = table.seats.map((s) => (s === old ? name : s));
    return this.changed(true);
  }

  lineups() {
    const s = this.data.study;
    const seats = Object.values(this.draft?.seats || {})[0] || (Object.values(this.data.lineups)[0]?.seats || ["", ""]).map((_, i) => `seat ${i + 1}`);
    const agents = Object.keys(this.data.agents);
    const template = this.fields.add(["study", "template"], "Who plays with whom", (a) => choose(a, [["", "as listed below"], ...this.shapes.templates.map((t) => [t.name, `${t.name}: ${t.about}`])], s.template, (v) => { this.set(s, "template", v); this.draw(); }));
    const cards = Object.entries(this.data.lineups).map(([name, table]) => {
      const at = ["lineups", name];
      const chairs = table.seats?.length === seats.length ? seats : (table.seats || []).map((_, i) => `seat ${i + 1}`);
      return this.card(`lineup ${name}`, () => { delete this.data.lineups[name]; this.changed(true); },
        h("div.fields", {},
          this.fields.add(at, "Name", (a) => { const found = type(a, name, () => {}); found.addEventListener("change", () => this.renameLineup(name, found.value.trim())); return found; }),
          chairs.map((seat, i) => this.fields.add([...at, "seats", i], seat, (a) => choose(a, agents, table.seats[i], (v) => { table.seats[i] = v; this.changed(); }))),
          this.fields.add([...at, "orders"], "In every order of seats", (a) => tick(a, ["all", "both"].includes(table.orders), (v) => this.set(table, "orders", v ? "all" : undefined)), { inline: true }),
          this.fields.add([...at, "mail"], "Messages", (a) => choose(a, [["", "as the environment carries them"], ["off", "off"], ["shuffle", "shuffled"]], table.mail, (v) => this.set(table, "mail", v)))));
    });
    const add = h("button", { type: "button", disabled: !agents.length, onclick: () => this.addLineup(seats.length, agents) }, "Add a lineup");
    return this.section("Lineups", "Who sits in which seat. All lineups meet the same blocks.", template, cards, add);
  }

  addLineup(n, agents) {
    const chosen = Array.from({ length: n }, (_, i) => agents[Math.min(i, agents.length - 1)]);
    let name = chosen.join("+");
    for (let k = 2; this.data.lineups[name]; k++) name = `${chosen.join("+")} ${k}`;
    this.data.lineups[name] = { seats: chosen };
    this.changed(true);
  }

  renameLineup(old, name) {
    if (!name || name === old || this.data.lineups[name]) return this.draw();
    this.data.lineups = Object.fromEntries(Object.entries(this.data.lineups).map(([k, v]) => [k === old ? name : k, v]));
    if (this.data.study.baseline === old) this.data.study.baseline = name;
    return this.changed(true);
  }

  rest() {
    const s = this.data.study, shapes = this.shapes;
    const controls = (this.data.controls ||= {}), budget = (this.data.budget ||= {});
    const shown = shapes.head.properties;
    const lineups = this.draft?.lineups?.filter((l) => !l.role).map((l) => l.name) || Object.keys(this.data.lineups);
    const numbers = ["blocks", "replicates", "margin", "level", "root", "concurrency"].filter((n) => !(n === "blocks" && Array.isArray(s.blocks))).map((n) =>
      this.fields.add(["study", n], WORDS[n] || worded(n), (a) => count(a, shown[n], s[n], (v) => this.set(s, n, v)), { about: n === "level" ? "a share: 0.95 is 95 %" : shown[n].description }));
    const metric = this.fields.add(["study", "metric"], "Metric", (a) => choose(a, [["", "the environment's first"], ...(this.draft?.metrics || [])], s.metric, (v) => this.set(s, "metric", v)), { about: shown.metric.description });
    const baseline = this.fields.add(["study", "baseline"], "Baseline", (a) => choose(a, [["", "the first lineup"], ...lineups], s.baseline, (v) => this.set(s, "baseline", v)), { about: shown.baseline.description });
    const on = (name, about) => this.fields.add(["controls", name], WORDS[name] || worded(name), (a) => tick(a, controls[name] ?? true, (v) => this.set(controls, name, v ? undefined : false)), { inline: true, about });
    const custom = ["floor", "ceiling"].filter((n) => typeof controls[n] === "string");
    return [
      this.section("Design", "", h("div.fields", {}, numbers, metric, baseline)),
      this.section("Controls", "Lineups that a study shows beside its own. Those that are switched off are noted in the result.", h("div.fields", {},
        !custom.includes("floor") && on("floor", "random agents in all seats"), !custom.includes("ceiling") && on("ceiling", "the environment's scripted expert in all seats, where it names one"),
        on("zero_message", "where agents talk: the same without messages"), on("equal_cost", "teams: the vote of first answers, the silent team, the best member at equal cost"), on("single", "teams of one model: all roles in one conversation"),
        this.fields.add(["controls", "dev"], WORDS.dev, (a) => count(a, { type: "integer", minimum: 1, default: 20 }, controls.dev, (v) => this.set(controls, "dev", v)), { about: "teams: blocks of a split of their own, on which the best single member is found" }))),
      this.section("Budget", "Limits of one sitting. The run stops before a call that might go over; what is finished is kept.", h("div.fields", {}, properties(this.fields, ["budget"], shapes.budget, budget, (name, value) => this.set(budget, name, value), { words: WORDS }))),
    ];
  }

  card(title, away, ...parts) {
    return h("div.panel.card", { role: "group", "aria-label": title }, h("button.away", { type: "button", "aria-label": `take ${title} away`, onclick: away }, "\u00d7"), parts);
  }

  // -- checking ------------------------------------------------------------------------------------------------------
  /** Check what stands there; what was changed meanwhile is checked once, when the answer has come. */
  async validate() {
    this.again = true;
    if (this.checking) return;
    this.checking = true;
    try {
      while (this.again) {
        this.again = false;
        await this.checkOnce();
      }
    } finally {
      this.checking = false;
    }
  }

  async checkOnce() {
    const mine = ++this.asked;
    this.said.setAttribute("aria-busy", "true");
    try {
      const draft = await post("/studies/validate", this.typed ? { toml: this.typed } : { study: trimmed(this.data) });
      if (mine !== this.asked || this.again) return;
      const drawn = this.draft && shape(this.draft, this.made);
      this.draft = draft;
      this.made = new Map(Object.keys(draft.seats).map((label) => [label, draft.study.environments[label].name]));
      if (!this.typed) this.text.value = draft.toml;
      this.tellProblems();
      if (shape(draft, this.made) !== drawn) await this.redraw();
      this.fields.say(draft.problems);
    } catch (error) {
      if (mine === this.asked) fill(this.said, h("p.error", { role: "alert" }, error.message));
    } finally {
      if (mine === this.asked) this.said.removeAttribute("aria-busy");
    }
  }

  /** Draw the form anew without taking the field away from whoever types. */
  async redraw(editing = this.form.contains(document.activeElement)) {
    const at = editing ? document.activeElement.closest("[data-place]")?.dataset.place : null;
    const range = editing && "selectionStart" in document.activeElement && document.activeElement.type === "text" ? [document.activeElement.selectionStart, document.activeElement.selectionEnd] : null;
    const open = [...this.form.querySelectorAll("details")].map((d) => d.open);
    await this.draw();
    const details = [...this.form.querySelectorAll("details")];
    if (details.length === open.length) details.forEach((d, i) => { d.open = open[i]; });
    if (at) {
      const field = [...this.form.querySelectorAll("[data-place]")].find((f) => f.dataset.place === at)?.querySelector("input, select, textarea");
      field?.focus();
      if (range && field?.type === "text") field.setSelectionRange(...range);
    }
  }

  tellProblems() {
    const { problems, plan, lineups } = this.draft;
    this.start.disabled = problems.length > 0 || !plan;
    const refused = problems.filter((p) => p.refused);
    if (problems.length) {
      fill(this.said, h("p", {}, h("span.badge.bad", {}, "not ready"), ` ${number(problems.length)} ${problems.length === 1 ? "thing is" : "things are"} to be put right:`),
        h("ul.problems", {}, problems.slice(0, 12).map((p) => h("li", {}, h("button.plain", { type: "button", onclick: () => this.goTo(p.place) }, p.place.length ? p.place.join(" \u203a ") : "the text"), h("span", {}, p.text)))),
        refused.length > 0 && h("p.quiet", {}, "Download the file and play it where you trust it: crossplay run FILE --trust"));
      fill(this.plan);
    } else {
      fill(this.said, h("p", {}, h("span.badge.good", {}, "ready"), ` ${many(plan.episodes, "episode")}.`));
      fill(this.plan, plan ? planned(plan, lineups, this.draft) : null);
    }
    this.tellKept();
  }

  tellKept() {
    const hidden = leaves(this.data).filter((place) => !this.fields.shows(place)).map((place) => place.slice(0, Math.min(3, place.concat(0).findIndex((part) => typeof part === "number"))).join("."));
    fill(this.kept, hidden.length > 0 && `Kept, but to be changed only as text: ${[...new Set(hidden)].join(", ")}.`);
  }

  goTo(place) {
    const found = this.fields.near(place);
    if (!found) return this.text.focus();
    for (let around = found.input.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
    found.input.focus();
    return found.input.scrollIntoView({ block: "center" });
  }

  // -- the text ------------------------------------------------------------------------------------------------------
  take(text) {
    this.typed = text;
    if (text) {
      this.text.value = text;
      return this.readText();
    }
    this.data = structuredClone(EMPTY);
    return this.changed(true);
  }

  async readText() {
    const text = this.typed;
    if (!this.text.value && text) this.text.value = text;
    if (!text.trim()) return this.take("");
    const draft = await attempt(() => post("/studies/parse", { toml: text }));
    if (!draft || text !== this.typed) return undefined;
    if (draft.study.study) {
      const same = !this.name || this.name === slug(this.data.study?.name);
      this.data = draft.study;
      if (same) this.run.value = this.name = slug(this.data.study.name) || "study";
      await this.draw();
    }
    this.keepDraft();
    return this.validate();
  }

  keepDraft() {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify({ data: this.data, typed: this.typed, name: this.name }));
    } catch {
      // private windows keep nothing; then nothing is kept
    }
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.text.value);
      tell("Copied.");
    } catch {
      this.text.select();
      tell("Press Ctrl+C to copy what is selected.");
    }
  }

  download() {
    const url = URL.createObjectURL(new Blob([this.text.value], { type: "application/toml" }));
    h("a", { href: url, download: `${slug(this.data.study.name) || "study"}.toml` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  // -- playing ---------------------------------------------------------------------------------------------------------
  async launch() {
    const name = this.name || slug(this.data.study.name) || "study";
    const started = await attempt(() => post("/studies/start", this.typed ? { name, toml: this.typed } : { name, study: trimmed(this.data) }), this.start);
    this.start.disabled = Boolean(started) || this.draft.problems.length > 0;
    if (!started) return;
    this.run.value = this.name = name;
    sessionStorage.removeItem(KEPT);
    this.follow(started);
  }

  async follow({ run, task }) {
    const stop = h("button.danger", { type: "button", onclick: async () => { if (await attempt(() => post(path`/runs/${run}/stop`), stop)) Object.assign(stop, { disabled: true, textContent: "Stopping ..." }); } }, "Stop");
    const resume = h("button", { type: "button", onclick: async () => { const again = await attempt(() => post(path`/runs/${run}/resume`), resume); if (again) this.follow(again); } }, "Go on");
    const line = h("p", {}, `Starting ${run} ...`), bar = h("progress", { max: 1, "aria-label": `progress of ${run}` }), log = h("pre", { hidden: true });
    const buttons = h("div.row", {}, h("a.button", { href: `/runs/${encodeURIComponent(run)}` }, "Open the run"), stop);
    fill(this.going, h("div.stack.going", { role: "group", "aria-label": "The run" }, line, bar, buttons, log));
    const turn = ++this.asked;
    clearTimeout(this.watching);
    const look = async () => {
      try {
        const now = await get(path`/tasks/${task.id}`, { lines: 12 });
        const row = now.runs.length ? (await get("/runs", { search: run })).rows.find((r) => r.run === run) : null;
        if (row) {
          bar.value = row.planned ? row.episodes / row.planned : 0;
          line.textContent = `${run}: ${number(row.episodes)} of ${number(row.planned)} episodes`;
        }
        if (now.state === "running") {
          this.watching = setTimeout(look, 1000);
          return;
        }
        const words = { done: "is finished", failed: "ended with an error", stopped: "was stopped; what is finished is kept" }[now.state];
        line.textContent = `${run} ${words}.`;
        fill(buttons, now.runs.length > 0 && h("a.button.main", { href: `/runs/${encodeURIComponent(run)}` }, "Open the run"), now.state !== "done" && now.runs.length > 0 && resume);
        if (now.state === "failed") Object.assign(log, { hidden: false, textContent: now.log.join("\n") });
        if (now.state !== "running") this.start.disabled = this.draft.problems.length > 0;
      } catch (error) {
        line.textContent = error.message;
      }
    };
    look();
    return turn;
  }
}

// -- words ---------------------------------------------------------------------------------------------------------------
const full = (family, name) => (/^[a-z0-9_-]+$/i.test(name) && !/-v\d/.test(name) ? `${family}/${name}` : `${family}:${name}`);

/** What of a draft the form is drawn from. */
const shape = (draft, made) => JSON.stringify([draft.seats, draft.metrics, draft.lineups.map((l) => l.name), [...made]]);

function split(kind) {
  const at = kind.search(/[:/]/);
  return at < 0 ? [kind, ""] : [kind.slice(0, at), kind.slice(at + 1)];
}

/** The data without what is empty. */
function trimmed(data) {
  return Object.fromEntries(Object.entries(data).filter(([name, v]) => ["study", "environments"].includes(name) || (v !== null && (typeof v !== "object" || Object.keys(v).length))));
}

function planned(plan, lineups, draft) {
  const money = plan.money === null ? "a model has no price" : plan.money ? `${number(plan.money, 2)} USD at most` : "nothing";
  const facts = [["Episodes", number(plan.episodes)], ["Decisions", number(plan.rows.reduce((n, r) => n + r.decisions, 0))], ["Calls to models", plan.calls ? `${number(plan.calls)} at most` : "none"], ["Tokens", plan.calls ? `${number(plan.tok_in + plan.tok_out)} at most` : "none"], ["Price", money], ["Time", `about ${duration(plan.seconds)}, one core`], ["Metric", draft.metric], ["Baseline", draft.baseline], ["Digest", draft.digest.slice(0, 16)]];
  const roles = Object.fromEntries(lineups.map((l) => [l.name, l.role]));
  return [
    h("dl.facts", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    plan.warnings.map((w) => h("p.quiet", {}, w)),
    h("details", {}, h("summary", {}, `${many(plan.rows.length, "cell")} of ${many(lineups.length, "lineup")}`), h("div.scroll", {}, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Lineup"), h("th", { scope: "col" }, "Role"), h("th.number", { scope: "col" }, "Episodes"), h("th.number", { scope: "col" }, "Calls"))),
      h("tbody", {}, plan.rows.map((r) => h("tr", {}, h("th", { scope: "row" }, r.cell), h("td", {}, r.role || roles[r.lineup] || ""), h("td.number", {}, number(r.episodes)), h("td.number", {}, number(r.calls)))))))),
    h("details", {}, h("summary", {}, "The study as it is resolved"), h("pre", { tabIndex: 0, "aria-label": "The study as it is resolved" }, draft.resolved)),
  ];
}
