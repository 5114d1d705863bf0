// What was said at a table, and a line to say something.

import { fill, h } from "./dom.js";

/** say(text, to). Returns {element, heard(message), said(message), open(audience)}. */
export function talk(say) {
  const list = h("ol.talk", { "aria-live": "polite", "aria-label": "What was said" });
  const field = h("input", { id: "say", maxLength: 2000, autocomplete: "off" });
  const to = h("select", { "aria-label": "To whom" });
  const form = h("form.row", { onsubmit: (event) => {
    event.preventDefault();
    if (!field.value.trim()) return;
    say(field.value.trim(), to.value || "*");
    field.value = "";
  } }, h("label", { for: "say" }, "Say"), field, to, h("button", {}, "Say it"));
  const element = h("section.panel.stack.talking", { hidden: true, "aria-label": "Talk" }, h("h2", {}, "Talk"), list, form);
  let audience = "";
  function add(who, text, note) {
    element.hidden = false;
    const body = typeof text === "string" ? text : JSON.stringify(text);
    list.append(h("li", {}, h("b", {}, who), " ", h("span", {}, body), note && h("small", {}, ` ${note}`)));
    while (list.children.length > 200) list.firstChild.remove();
    list.scrollTop = list.scrollHeight;
  }
  return {
    element,
    heard: (message) => add(message.from || "?", message.body),
    said: (message) => add("You", message.body, "with your next move"),
    clear: () => fill(list),
    open(names) {
      if (names.join() === audience) return;
      audience = names.join();
      element.hidden = !names.length && !list.children.length;
      form.hidden = !names.length;
      to.hidden = names.length < 2;
      fill(to, h("option", { value: "*" }, "to all"), names.map((n) => h("option", { value: n }, `to ${n}`)));
    },
  };
}
