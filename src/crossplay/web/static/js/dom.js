// Elements from plain data. Text is always text: nothing here reads HTML.

import { sheet } from "./sheets.js";

/** h("a.link", {href: "/"}, "text", child, [children]): attributes; on* are listeners; null children are left out. */
export function h(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (name === "class") element.classList.add(...String(value).split(" ").filter(Boolean));
    else if (name in element && typeof value !== "string" && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  if (classes.includes("scroll")) sheet(element);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Put children in the place of what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** An SVG drawing from its text (made by the server), without scripts. */
export function drawing(text) {
  const svg = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  if (svg.nodeName !== "svg") return h("p.quiet", {}, "This drawing cannot be shown.");
  for (const bad of svg.querySelectorAll("script, foreignObject")) bad.remove();
  return document.importNode(svg, true);
}

const waiting = new Set(); // calls that are held back

/** Call after the last of a row of calls, at most every `ms`; never after another page is shown. */
export function calm(call, ms = 200) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    waiting.delete(timer);
    const mine = setTimeout(() => { waiting.delete(mine); call(...given); }, ms);
    waiting.add(timer = mine);
  };
}

/** What a page that is left held back is not done any more: it would write into the address of the next one. */
export function forget() {
  waiting.forEach(clearTimeout);
  waiting.clear();
}

/** A style sheet of one area, /static/css/NAME.css, until another page is shown. Resolves when it is there. */
export function style(name) {
  const href = `/static/css/${name}.css`;
  let sheet = document.querySelector(`link[href="${href}"]`);
  if (sheet) sheet.disabled = false;
  else {
    sheet = h("link", { rel: "stylesheet", href, "data-area": name });
    sheet.loaded = new Promise((done) => { sheet.onload = sheet.onerror = done; });
    document.head.append(sheet);
  }
  return sheet.loaded;
}

/** Sheets of other areas touch nothing here: their words may mean something else. */
export function plain() {
  for (const sheet of document.querySelectorAll("link[data-area]")) sheet.disabled = true;
}

/** Resolves when all sheets that were asked for are there. */
export const styled = () => Promise.all([...document.querySelectorAll("link[data-area]")].map((sheet) => sheet.loaded));
