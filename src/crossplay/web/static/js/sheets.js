// What is wider than its place (tables above all) scrolls by itself: it can be reached by keys, has a name, and shows at its rims
// that there is more. `h` of dom.js gives every element of the class "scroll" here.

const sizes = new ResizeObserver((entries) => { for (const { target } of entries) rims(boxes.has(target) ? target : target.parentElement); });
const boxes = new WeakSet();
const named = new WeakSet(); // those that were given a name here

/** Look after an element that scrolls sideways, and what is in it. */
export function sheet(box) {
  boxes.add(box);
  sizes.observe(box);
  for (const inside of box.children) sizes.observe(inside);
  box.addEventListener("scroll", () => rims(box), { passive: true });
}

function rims(box) {
  if (!box?.isConnected) return;
  const wide = box.scrollWidth > box.clientWidth + 1;
  box.classList.toggle("wide", wide);
  box.classList.toggle("more-left", wide && box.scrollLeft > 1);
  box.classList.toggle("more-right", wide && box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  if (box.role === "tablist") return; // its tabs are reached by keys
  if (wide && !box.hasAttribute("tabindex")) {
    box.tabIndex = 0;
    if (box.hasAttribute("aria-label")) return;
    named.add(box);
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", `${name(box)}, to be scrolled sideways`);
  } else if (!wide && named.has(box)) {
    named.delete(box);
    for (const one of ["tabindex", "role", "aria-label"]) box.removeAttribute(one);
  }
}

/** What a table is about: its caption, or the heading before it. */
function name(box) {
  const caption = box.querySelector("caption")?.textContent;
  if (caption) return caption;
  const heads = [...document.querySelectorAll("h1, h2, h3")].filter((head) => head.compareDocumentPosition(box) & Node.DOCUMENT_POSITION_FOLLOWING);
  return heads.at(-1)?.textContent || "Table";
}
