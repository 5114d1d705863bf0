"""Every page for everybody: names and labels, headings, contrast, keys alone, 360 pixels.

The rules are written by hand after WCAG 2.2 (1.1.1, 1.3.1, 1.4.3, 2.1.1, 2.4.1, 2.4.2, 2.4.7, 3.1.1, 4.1.2). Contrast is computed
from the colours that the browser computed, for every text that is seen, against what lies behind it.
"""

import pytest
from everywhere import PAGES, places_of

from conftest import serving

pytestmark = pytest.mark.full

SEEN = """(e) => { const s = getComputedStyle(e), b = e.getBoundingClientRect(); return s.visibility !== "hidden" && b.width > 0 && b.height > 0 && e.checkVisibility(); }"""
NAMELESS = (
    "() => { const seen = "
    + SEEN
    + """;
  const text = (e) => (e.getAttribute("aria-label") || (e.getAttribute("aria-labelledby") || "").split(" ").map((i) => document.getElementById(i)?.textContent || "").join(" ") || e.textContent || e.title || "").trim();
  const found = [];
  for (const e of document.querySelectorAll("button, a[href], [role=button], [role=tab], summary")) if (seen(e) && !text(e) && !e.querySelector("img[alt]")) found.push(e.outerHTML.slice(0, 160));
  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea, [role=slider]")) if (seen(e) && !(e.labels?.length && [...e.labels].some((l) => l.textContent.trim())) && !e.getAttribute("aria-label") && !e.getAttribute("aria-labelledby")) found.push(e.outerHTML.slice(0, 160));
  for (const e of document.querySelectorAll("img:not([alt]), canvas:not([aria-label]):not([aria-hidden])")) if (seen(e)) found.push(e.outerHTML.slice(0, 160));
  for (const e of document.querySelectorAll("svg")) if (seen(e) && !e.closest("[aria-hidden=true], button, a") && !(e.getAttribute("role") === "img" && (e.getAttribute("aria-label") || e.querySelector("title"))) && !e.querySelector("text")) found.push(e.outerHTML.slice(0, 160));
  return found; }"""
)
SHAPE = """() => {
  const found = [];
  const heads = [...document.querySelectorAll("h1, h2, h3, h4, h5")].filter((e) => e.checkVisibility());
  if (heads.filter((e) => e.tagName === "H1").length !== 1) found.push("there is not one h1: " + heads.map((e) => e.tagName).join(" "));
  heads.forEach((e, i) => { if (i && Number(e.tagName[1]) > Number(heads[i - 1].tagName[1]) + 1) found.push(`${heads[i - 1].tagName} "${heads[i - 1].textContent}" is followed by ${e.tagName} "${e.textContent}"`); if (!e.textContent.trim()) found.push("an empty heading"); });
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title) found.push("no title");
  for (const tag of ["main", "header"]) if (document.querySelectorAll(tag).length !== 1) found.push(`there is not one ${tag}`);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id), twice = ids.filter((id, i) => ids.indexOf(id) !== i);
  if (twice.length) found.push(`ids that come twice: ${[...new Set(twice)].slice(0, 5).join(" ")}`);
  for (const e of document.querySelectorAll("[tabindex]")) if (Number(e.getAttribute("tabindex")) > 0) found.push("tabindex above 0");
  for (const e of document.querySelectorAll("table")) if (e.checkVisibility() && e.rows.length > 1 && !e.querySelector("th")) found.push("a table without header cells: " + e.textContent.slice(0, 60));
  for (const e of document.querySelectorAll("[role=tab]")) if (!["true", "false"].includes(e.getAttribute("aria-selected"))) found.push("a tab does not say whether it is chosen: " + e.textContent);
  return found; }"""
CONTRAST = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (c) => { pen.clearRect(0, 0, 1, 1); pen.fillStyle = c; pen.fillRect(0, 0, 1, 1); const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const ground = (e) => { const layers = []; for (let n = e; n; n = n.parentElement) { const c = rgba(getComputedStyle(n).backgroundColor); if (c[3]) layers.push(c); if (c[3] === 1) break; } return layers.reverse().reduce((u, t) => over(t, u), rgba(getComputedStyle(document.documentElement).backgroundColor)[3] ? rgba(getComputedStyle(document.documentElement).backgroundColor) : [255, 255, 255, 1]); };
  const found = new Map();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || !e.checkVisibility({ opacityProperty: true }) || e.closest("script, style, noscript, svg, option, :disabled, [aria-disabled=true], [aria-hidden=true]")) continue;
    const s = getComputedStyle(e);
    let faint = 1;
    for (let p = e; p; p = p.parentElement) faint *= Number(getComputedStyle(p).opacity);
    const under = ground(e), ink = rgba(s.color), seen = over([ink[0], ink[1], ink[2], ink[3] * faint], under);
    const [a, b] = [light(seen), light(under)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(s.fontSize) >= 24 || (parseFloat(s.fontSize) >= 18.66 && Number(s.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.set(`${e.tagName}.${e.className} ${s.color} on ${under.slice(0, 3).map(Math.round)}`, `${ratio.toFixed(2)} "${n.textContent.trim().slice(0, 30)}"`);
  }
  return [...found].map(([what, how]) => `${what}: ${how}`); }"""
WIDER = """() => { const wide = document.documentElement.clientWidth, found = []; if (document.documentElement.scrollWidth > wide) for (const e of document.querySelectorAll("main *")) { const b = e.getBoundingClientRect(); if (b.right > wide + 1 && e.checkVisibility() && ![...function* () { for (let p = e.parentElement; p; p = p.parentElement) yield p; }()].some((p) => ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(p).overflowX))) found.push(`${e.tagName}.${e.className} ends at ${Math.round(b.right)}`); } return found.slice(0, 5).concat(document.documentElement.scrollWidth > wide ? [`the page is ${document.documentElement.scrollWidth} wide`] : []); }"""


@pytest.fixture(scope="module")
def served(own_runs):
    yield from serving(own_runs())


@pytest.fixture(scope="module")
def places(served):
    return places_of(served)


def opened(browse, served, places, name, **options):
    window = browse(served, **options)
    page = window.open(places[name], name)
    page.wait_for_timeout(800)
    if name == "runs_compare":  # these two share nothing, which is said
        window.forgive("400")
    return page


@pytest.mark.parametrize("name", PAGES)
def test_everything_has_a_name_and_headings_are_in_order(browse, served, places, name):
    page = opened(browse, served, places, name)
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(SHAPE) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out(browse, served, places, name, dark):
    page = opened(browse, served, places, name, dark=dark)
    for tab in page.get_by_role("tab").all():
        if name == "study":
            tab.click()
            page.wait_for_timeout(300)
            assert page.evaluate(CONTRAST) == [], tab.inner_text()
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out_at_360_pixels(browse, served, places, name):
    page = opened(browse, served, places, name, width=360)
    assert page.evaluate(WIDER) == []
    if name == "study":
        for tab in page.get_by_role("tab").all():
            tab.click()
            page.wait_for_timeout(300)
            assert page.evaluate(WIDER) == [], tab.inner_text()


FOCUS = """() => { const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect(); return { name: (e.getAttribute("aria-label") || e.textContent || e.value || e.id || e.tagName).trim().slice(0, 40), tag: e.tagName, ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1, seen: b.width > 0 && b.height > 0 }; }"""


def test_the_menu_by_keys_alone(browse, served):
    page = browse(served).open("/", "runs")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS)["name"] == "To the content"
    visited = []
    for ready in ("new_study", "rooms", "people", "gallery", "models", "workers", "runs"):
        link = page.get_by_role("navigation", name="Pages").locator("a").all_inner_texts()[(len(visited) + 1) % 7]
        page.locator("a.skip").focus()  # keys go on from the content; who wants the menu goes back to the top
        for _ in range(12):
            page.keyboard.press("Tab")
            now = page.evaluate(FOCUS)
            assert now["ring"] and now["seen"], now
            if now["name"] == link:
                break
        assert now["name"] == link
        page.keyboard.press("Enter")
        page.wait_for_selector(f'body[data-ready="{ready}"]')
        visited.append(ready)


@pytest.mark.parametrize("name", PAGES)
def test_whatever_has_the_focus_is_seen_to_have_it(browse, served, places, name):
    page = opened(browse, served, places, name)
    for _ in range(40):
        page.keyboard.press("Tab")
        now = page.evaluate(FOCUS)
        assert now["tag"] == "BODY" or (now["ring"] and now["seen"]), now


def test_the_skip_link_leads_to_the_content(browse, served):
    page = browse(served).open("/gallery", "gallery")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
