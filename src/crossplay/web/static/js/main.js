// Which page an address shows. A page is a module with `async function show(root, {parts, query, owner})`; what it
// returns, if it is a function, is called when it is left.

import { ApiError, get, post } from "./api.js";
import { fill, forget, h, plain, styled } from "./dom.js";

const PAGES = [
  [/^\/$/, "runs"],
  [/^\/runs\/(?<run>[^/]+)$/, "study"],
  [/^\/runs\/(?<run>[^/]+)\/episodes$/, "episodes"],
  [/^\/runs\/(?<run>[^/]+)\/episodes\/(?<episode>[^/]+)$/, "episode"],
  [/^\/runs\/(?<run>[^/]+)\/episodes\/(?<episode>[^/]+)\/team$/, "team"],
  [/^\/runs\/(?<run>[^/]+)\/compare$/, "compare"],
  [/^\/compare$/, "runs_compare"],
  [/^\/gallery$/, "gallery"],
  [/^\/gallery\/(?<entry>[^/]+)$/, "gallery_entry"],
  [/^\/models$/, "models"],
  [/^\/workers$/, "workers"],
  [/^\/new$/, "new_study"],
  [/^\/play$/, "rooms"],
  [/^\/play\/(?<room>[^/]+)$/, "play"],
  [/^\/people$/, "people"],
  [/^\/people\/(?<study>[^/]+)$/, "people"],
  [/^\/take-part$/, "take_part"],
];
const MENU = [["/", "Runs"], ["/new", "New study"], ["/play", "Play"], ["/people", "People"], ["/gallery", "Gallery"], ["/models", "Models"], ["/workers", "Workers"]];
const GUESTS = ["play", "take_part"]; // pages that need no more than their link

let leave = null;
let turn = 0;

/** Show another page of ours. */
export function go(where, { replace = false } = {}) {
  leaving();
  history[replace ? "replaceState" : "pushState"]({}, "", where);
  return route({ fresh: false });
}

/** Remember how far down one was, for whoever comes back. */
function leaving() {
  history.replaceState({ ...history.state, down: Math.round(scrollY) }, "");
}

/** Keep options of what is shown in the address, without showing it anew. */
export function keep(query) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === "" || value === undefined) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  history.replaceState(history.state, "", url);
}

function header(owner) {
  const here = location.pathname;
  fill(
    document.getElementById("top"),
    h("a.brand", { href: "/" }, "Crossplay"),
    owner &&
      h("nav", { "aria-label": "Pages" }, MENU.map(([to, name]) => {
        const current = to === "/" ? here === "/" || here.startsWith("/runs") || here === "/compare" : here.startsWith(to);
        return h("a", { href: to, "aria-current": current ? "page" : null }, name);
      })),
  );
}

/** Show what the address says. fresh: the browser has just loaded us; down: where one was on this page. */
async function route({ fresh = true, down = history.state?.down || 0 } = {}) {
  const mine = ++turn;
  delete document.body.dataset.ready;
  const root = document.getElementById("main");
  if (typeof leave === "function") leave();
  leave = null;
  forget();
  const found = PAGES.map(([pattern, name]) => [location.pathname.match(pattern), name]).find(([match]) => match);
  try {
    const who = await get("/who");
    header(who.owner);
    if (!found) throw new ApiError(404, `There is no page ${location.pathname}.`);
    const [match, name] = found;
    if (!who.owner && !GUESTS.includes(name)) return login(root);
    const parts = Object.fromEntries(Object.entries(match.groups || {}).map(([k, v]) => [k, decodeURIComponent(v)]));
    const page = await import(`./pages/${name}.js`);
    if (mine !== turn) return;
    const space = h("div.page", { "data-page": name });
    plain();
    document.title = "Crossplay";
    fill(root, space);
    if (!fresh) root.focus({ preventScroll: true }); // keys and readers go on from here
    const query = Object.fromEntries(new URLSearchParams(location.search));
    const after = await page.show(space, { parts, query, owner: who.owner });
    if (mine === turn) leave = after;
    else if (typeof after === "function") after();
    await styled();
    if (mine !== turn) return;
    titled(root);
    scrollTo(0, down);
    document.body.dataset.ready = name;
  } catch (error) {
    if (mine !== turn) return;
    trouble(root, error);
  }
}

/** The page's name in the title of the window, where it has not said another one. */
function titled(root) {
  const name = root.querySelector("h1")?.textContent;
  if (name && document.title === "Crossplay") document.title = `${name} \u00b7 Crossplay`;
}

function trouble(root, error) {
  const missing = error instanceof ApiError && error.status === 404;
  fill(root, h("div.page", {}, h("h1", {}, missing ? "Not here" : "This did not work"), h("p.error", { role: "alert" }, error.message), h("p", {}, h("a", { href: "/" }, "All runs"))));
  document.title = "Crossplay";
  titled(root);
  document.body.dataset.ready = "error";
  if (!(error instanceof ApiError)) console.error(error);
}

function login(root) {
  const field = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password", id: "token" });
  const said = h("p.error", { role: "alert" });
  fill(root, h("form.page.narrow.stack", {
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        await post("/login", { token: field.value });
        await route({ fresh: false });
      } catch (error) {
        said.textContent = error.message;
      }
    },
  }, h("h1", {}, "Who are you?"), h("div", {}, h("label", { for: "token" }, "The token that the server was started with"), field), said, h("button.main", {}, "Go on")));
  document.title = "Crossplay";
  titled(root);
  document.body.dataset.ready = "login";
  field.focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || link.target || link.hasAttribute("download")) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || url.pathname.startsWith("/api/") || url.pathname.startsWith("/static/")) return;
  if (url.hash && url.pathname === location.pathname) return;
  event.preventDefault();
  go(url.pathname + url.search + url.hash);
});
history.scrollRestoration = "manual"; // a page is made anew; it goes back to its place when it is there
addEventListener("pagehide", leaving);
addEventListener("popstate", (event) => {
  if (location.hash && document.getElementById(location.hash.slice(1))) return; // a place on this very page
  route({ fresh: false, down: event.state?.down });
});

// A link may bring the token behind "#": it never reaches a log.
const brought = new URLSearchParams(location.hash.slice(1)).get("token");
if (brought && !location.pathname.startsWith("/play/")) {
  history.replaceState({}, "", location.pathname + location.search);
  post("/login", { token: brought }).catch(() => null).then(() => route());
} else route();
