// All entries of the gallery: what each is, its claim, what holds of it.

import { get, path, post } from "../api.js";
import { fill, h, style } from "../dom.js";
import { go } from "../main.js";
import { attempt } from "../ui.js";

export async function show(root) {
  style("rooms");
  const told = await get("/gallery");
  const list = h("div.cards");
  const field = h("input", { type: "search", placeholder: "Filter", "aria-label": "Filter entries", oninput: () => draw() });
  const draw = () => {
    const wanted = field.value.toLowerCase();
    const found = told.entries.filter((e) => [e.name, e.title, e.source, e.claim].join(" ").toLowerCase().includes(wanted));
    fill(list, found.length ? found.map(card) : h("p.quiet", {}, told.entries.length ? "No entry says that." : "No entry is installed."));
  };
  fill(root, h("h1", {}, "Gallery"),
    h("p", {}, "Published multi-agent systems as small experiments. A ", h("strong", {}, "check"), " (tier 0) tries the mechanism with scripted agents against an independent reference, and must fail when the mechanism is switched off; it says nothing about language models. A ", h("strong", {}, "trial"), " (tier 1 and 2) tries the claim with models, and never counts as a reproduction on its own."),
    h("div.row", {}, field), list);
  draw();
}

function card(e) {
  const button = h("button", { "aria-label": `Check ${e.name}`, onclick: () => attempt(async () => { await post(path`/gallery/${e.name}/check`); go(path`/gallery/${e.name}`); }, button) }, "Check it");
  return h("article.panel.card", {},
    h("h2", {}, h("a", { href: path`/gallery/${e.name}` }, e.title)),
    h("p.quiet.fine", {}, e.source),
    e.trouble ? h("p.error", {}, e.trouble) : [
      h("p", {}, e.claim),
      h("p.row", {}, status(e.check, e.going)),
      h("p.fine", {}, h("span.quiet", {}, "The check must notice the absence of: "), e.mechanisms.join("; ")),
      e.trials.length ? h("ul.fine", {}, e.trials.map((t) => h("li", {}, `tier ${t.tier}, ${t.models.join(", ")}, ${t.n} blocks, ${t.date}: `, h("strong", {}, t.verdict), t.where === "kept" ? h("span.quiet", {}, " (kept)") : h("span.quiet", {}, " (tried here)")))) : h("p.fine.quiet", {}, e.tries ? "No trial with models is kept." : "It has no trial with models."),
      h("p.row", {}, e.going ? h("a.button", { href: path`/gallery/${e.name}` }, "Watch it") : button)]);
}

/** How the mechanism stands. */
export function status(check, going) {
  if (going) return [h("span.badge.going.going-on", {}, `${going.kind.replace("gallery ", "")} is running`)];
  if (!check) return [h("span.badge", {}, "mechanism not checked here yet")];
  const when = h("span.quiet.fine", {}, new Date(check.at * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }));
  if (check.ok === null) return [h("span.badge.flag", {}, "could not be checked"), h("span.fine", {}, check.why), when];
  const all = `${check.holds} of ${check.findings} findings hold`;
  return check.ok ? [h("span.badge.good", {}, `\u2713 mechanism: ${all}`), when] : [h("span.badge.bad", {}, `\u2717 mechanism: ${all}`), when];
}
