// The graph of a team: members on a circle, who may hear whom, and who was shown whose words in one round.

const NS = "http://www.w3.org/2000/svg";
const SIZE = 460, PAD = 74;

/** An SVG element: s("circle.node", {cx: 3}, child). on* are listeners. */
export function s(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElementNS(NS, tag);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2).toLowerCase(), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Where n members stand: on a circle, the first at the top, clockwise. */
export function circle(n, size = SIZE, pad = PAD) {
  const middle = size / 2, radius = n > 1 ? middle - pad : 0;
  return Array.from({ length: n }, (_, i) => {
    const angle = (2 * Math.PI * i) / n - Math.PI / 2;
    return [middle + radius * Math.cos(angle), middle + radius * Math.sin(angle)];
  });
}

/** Who was shown whose posts in a round: [{from, to, posts}], members by place; own posts are left out. */
export function spoken(decision, round) {
  const author = new Map(decision.posts.map((p) => [p.id, p.member]));
  const found = new Map();
  for (const post of decision.posts.filter((p) => p.round === round)) {
    for (const id of new Set([...post.sees, ...post.told])) {
      const from = author.get(id);
      if (from === undefined || from === post.member) continue;
      const key = `${from}>${post.member}`;
      if (!found.has(key)) found.set(key, { from, to: post.member, posts: [] });
      if (!found.get(key).posts.includes(id)) found.get(key).posts.push(id);
    }
  }
  return [...found.values()];
}

/** The standing answer of each member after a round: its last post that is an answer, or none. */
export function standing(decision, round) {
  const found = decision.members.map(() => null);
  for (const post of decision.posts) if (post.round <= round && post.answer) found[post.member] = post;
  return found;
}

const short = (text, n) => (text.length > n ? `${text.slice(0, n - 1)}\u2026` : text);
export const SIGNS = { right: "\u2713", wrong: "\u2717", fault: "!", answered: "\u25cf", silent: "\u2013" };

/** How a member stands: right, wrong, fault, answered or silent. */
export function state(post, now) {
  if (now?.fault) return "fault";
  if (!post) return now ? "answered" : "silent";
  return post.right === null ? "answered" : post.right ? "right" : "wrong";
}

/**
 * The drawing of one round. picked: a member whose lines stand out, or null; pick(member) is told of clicks and Enter.
 */
export function graph(decision, round, picked, pick) {
  const places = circle(decision.members.length);
  const messages = spoken(decision, round);
  const heard = new Set(messages.map((m) => `${m.from}>${m.to}`));
  const stands = standing(decision, round);
  const big = decision.members.length <= 12;
  const radius = big ? 25 : Math.max(9, 25 - decision.members.length / 2);
  const root = s("svg.plot.graph", { viewBox: box(places, radius), role: "group", "aria-label": words(decision, round, messages) });
  root.append(s("defs", {}, ["plain", "strong"].map((name) => s("marker", { id: `arrow-${name}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse", class: `arrow ${name}` }, s("path", { d: "M0,0 L8,4 L0,8 z" })))));
  for (const [from, to] of decision.links) {
    if (!heard.has(`${from}>${to}`)) root.append(s("path.may", { d: bow(places[from], places[to], radius) }));
  }
  for (const m of messages) {
    const mine = picked === null || m.from === picked || m.to === picked;
    const [a, b] = [decision.members[m.from].name, decision.members[m.to].name];
    root.append(s(`path.said${mine ? "" : ".aside"}`, { d: bow(places[m.from], places[m.to], radius), "marker-end": `url(#arrow-${mine ? "strong" : "plain"})` }, s("title", {}, `${a} to ${b}: ${m.posts.length === 1 ? "1 post" : `${m.posts.length} posts`}`)));
  }
  decision.members.forEach((member, i) => {
    const now = decision.posts.filter((p) => p.round === round && p.member === i).at(-1);
    const how = member.present ? state(stands[i], now) : "silent";
    const [x, y] = places[i];
    const answer = stands[i] ? stands[i].words : "";
    const said = `${member.name}: ${how === "silent" ? "nothing so far" : how === "fault" ? "no answer" : short(answer || now?.act || "", 60)}${how === "right" || how === "wrong" ? `, ${how}` : ""}`;
    const asked = now ? "" : ".rests";
    const low = y > SIZE / 2 + 1 || decision.members.length === 1;
    root.append(s(`g.member.is-${how}${asked}`, {
      tabindex: 0, role: "button", "aria-pressed": String(picked === i), "aria-label": said, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
      onclick: () => pick(i),
      onkeydown: (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pick(i); } },
    },
    s("title", {}, said),
    s("circle", { r: radius }),
    s("text.sign", { "text-anchor": "middle", y: 6 }, SIGNS[how]),
    big && s("text.label", { "text-anchor": "middle", y: low ? radius + 17 : -radius - (answer ? 22 : 8) }, short(member.name, 18)),
    big && answer && s("text.note", { "text-anchor": "middle", y: low ? radius + 33 : -radius - 7 }, short(answer.replaceAll("\n", " "), 20))));
  });
  return root;
}

/** What of the square is used: a triangle leaves its foot empty. */
function box(places, radius) {
  const ys = places.map((p) => p[1]), top = Math.min(...ys) - radius - 42, low = Math.max(...ys) + radius + 46;
  return `0 ${top.toFixed(0)} ${SIZE} ${(low - top).toFixed(0)}`;
}

/** A line that bends, so that both directions can be told apart; it ends at the rim. */
function bow([x0, y0], [x1, y1], radius) {
  const dx = x1 - x0, dy = y1 - y0, far = Math.hypot(dx, dy) || 1;
  const bend = Math.min(26, far / 7);
  const [nx, ny] = [-dy / far, dx / far];
  const [mx, my] = [(x0 + x1) / 2 + nx * bend, (y0 + y1) / 2 + ny * bend];
  const rim = (x, y, gap) => { const d = Math.hypot(mx - x, my - y) || 1; return [x + ((mx - x) / d) * gap, y + ((my - y) / d) * gap]; };
  const [ax, ay] = rim(x0, y0, radius + 2), [bx, by] = rim(x1, y1, radius + 5);
  return `M${ax.toFixed(1)},${ay.toFixed(1)} Q${mx.toFixed(1)},${my.toFixed(1)} ${bx.toFixed(1)},${by.toFixed(1)}`;
}

/** The same in words. */
export function words(decision, round, messages = spoken(decision, round)) {
  const asked = [...new Set(decision.posts.filter((p) => p.round === round).map((p) => p.member))];
  const name = (i) => decision.members[i].name;
  if (asked.length > 2 && messages.length === asked.length * (asked.length - 1)) return `Round ${round}. ${asked.length} members; each was shown the words of all others.`;
  if (asked.length > 1 && !messages.length) return `Round ${round}. ${asked.length} members; nobody was shown the words of another.`;
  const said = asked.map((i) => {
    const from = messages.filter((m) => m.to === i).map((m) => name(m.from));
    return `${name(i)} was shown ${from.length ? `the words of ${from.join(", ")}` : "nobody else's words"}`;
  });
  return `Round ${round}. ${said.length ? said.join("; ") : "Nobody was asked"}.`;
}

/** A curve as an SVG drawing: series [{name, points: [[x, y], ...]}], axes named. For curves of training and of speed. */
export function curve(series, { x = "", y = "", width = 560, height = 220, zero = false, log2 = false } = {}) {
  const points = series.flatMap((one) => one.points);
  if (!points.length) return null;
  width = Math.max(260, Math.min(width, document.documentElement.clientWidth - 64)); // letters keep their size on a phone
  const [left, right, top, bottom] = [62, 14, 14, 40];
  const at = log2 ? Math.log2 : (v) => v;
  const range = (values, from0) => { const low = Math.min(...values, ...(from0 ? [0] : [])), high = Math.max(...values); return low === high ? [low - 1, high + 1] : [low, high]; };
  const [x0, x1] = range(points.map((p) => at(p[0])), false), [y0, y1] = range(points.flatMap((p) => p.slice(1)), zero);
  const px = (v) => left + ((at(v) - x0) / (x1 - x0)) * (width - left - right);
  const py = (v) => height - bottom - ((v - y0) / (y1 - y0)) * (height - top - bottom);
  const root = s("svg.plot.curve", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `${series.map((o) => o.name).join(", ")}: ${y} by ${x}` });
  for (const v of ticks(y0, y1)) root.append(s("line.grid", { x1: left, x2: width - right, y1: py(v), y2: py(v) }), s("text.tick", { x: left - 8, y: py(v) + 4, "text-anchor": "end" }, plain(v)));
  const marks = log2 ? [...new Set(points.map((p) => p[0]))] : ticks(x0, x1, 5);
  for (const v of marks) root.append(s("text.tick", { x: px(v), y: height - bottom + 18, "text-anchor": "middle" }, plain(v)));
  root.append(s("text.unit", { x: width - right, y: height - 4, "text-anchor": "end" }, x), s("text.unit", { x: left, y: 10 }, y));
  series.forEach((one, i) => {
    const kind = `line-${i % 4}`;
    for (const p of one.points) if (p.length > 2) root.append(s(`line.${kind}.range`, { x1: px(p[0]), x2: px(p[0]), y1: py(p[2]), y2: py(p[3]) }));
    root.append(s(`polyline.${kind}`, { points: one.points.map((p) => `${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`).join(" ") }));
    if (one.points.length < 40) for (const p of one.points) root.append(s(`circle.${kind}`, { cx: px(p[0]), cy: py(p[1]), r: 3.5 }, s("title", {}, `${plain(p[0])}: ${plain(p[1])}`)));
  });
  return root;
}

function ticks(low, high, n = 4) {
  const rough = (high - low) / n, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((v) => v >= rough);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) found.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return found;
}

const plain = (v) => (Math.abs(v) >= 1e6 ? `${+(v / 1e6).toFixed(2)}M` : Math.abs(v) >= 1e4 ? `${+(v / 1e3).toFixed(1)}k` : `${+v.toPrecision(4)}`).replace("-", "\u2212");
