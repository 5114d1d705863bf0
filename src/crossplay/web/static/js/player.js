// A recorded episode that is played again by the server: asks for ticks, passes pictures and texts on to where they are shown.

import { get, path, socket } from "./api.js";
import { header } from "./screen.js";

/**
 * told({tick, playing, parted, drift}): after each tick that is on the screen. why(text): there are no pictures.
 * The connection is opened when something is asked, also again after the server has closed an idle one.
 */
export class Player {
  constructor(run, episode, { told = () => {}, why = () => {} } = {}) {
    Object.assign(this, { where: path`/ws/replay/${run}/${episode}`, told, why, items: [], turn: 0, watching: 0, waiting: [], line: null, hopeless: false, closed: false });
  }

  /** What is shown from now on: [{item: "world" or "SEAT:VIEW", screen: a Screen, text: (text) => ...}]. tick: which one, null to go on. Resolves as `show`. */
  watch(items, tick = null) {
    this.items = items;
    return this.ask(tick === null ? { watch: [] } : { watch: [], tick }); // the list itself is filled in by `say`
  }

  /** Show one tick. Resolves when it, or one that was asked for later, is on the screen. */
  show(tick) {
    return this.ask({ tick });
  }

  /** Tick after tick, `speed` a second. */
  play(from, to, speed) {
    this.say({ from, to, speed });
  }

  stop() {
    if (this.line) this.say({ stop: true });
  }

  close() {
    this.closed = true;
    this.line?.close();
    this.settle(Infinity);
  }

  ask(wish) {
    if (this.hopeless || this.closed) return Promise.resolve();
    return new Promise((done) => {
      this.say(wish);
      this.waiting.push([this.turn, done]);
    });
  }

  say(wish) {
    if (this.hopeless || this.closed) return;
    const fresh = !this.line;
    if (fresh) this.connect();
    const turn = ++this.turn;
    const whole = { ...wish, turn };
    if (fresh || wish.watch) {
      whole.watch = this.items.map((i) => i.item);
      this.watching = turn; // until the server says so, what comes belongs to the list before
      this.deaf = true;
    }
    const text = JSON.stringify(whole);
    if (this.line.readyState === WebSocket.OPEN) this.line.send(text);
    else this.line.queue.push(text);
  }

  connect() {
    const line = socket(this.where);
    line.queue = [];
    line.onopen = () => line.queue.splice(0).forEach((text) => line.send(text));
    line.onmessage = ({ data }) => this.heard(data);
    line.onclose = () => {
      if (this.line === line) this.line = null;
      this.settle(Infinity);
    };
    this.line = line;
  }

  async heard(data) {
    if (data instanceof ArrayBuffer) {
      if (!this.deaf) this.drawing = this.items[header(data).screen]?.screen?.show(data);
      return;
    }
    const said = JSON.parse(data);
    if (said.why) {
      this.hopeless = true;
      this.why(said.why);
      this.settle(Infinity);
    } else if (said.watching !== undefined) {
      this.deaf = said.watching !== this.watching;
    } else if (said.error) {
      console.warn(said.error);
    } else if (!this.deaf) {
      for (const [screen, text] of Object.entries(said.texts)) this.items[screen]?.text?.(text);
      await this.drawing;
      if (this.closed) return;
      this.told(said);
      this.settle(said.turn);
    }
  }

  settle(turn) {
    const done = this.waiting.filter(([mine]) => mine <= turn);
    this.waiting = this.waiting.filter(([mine]) => mine > turn);
    for (const [, resolve] of done) resolve();
  }
}

const CHUNK = 100; // ticks that are fetched together

/** The trace of an episode, fetched some ticks at a time and ahead of where one looks. */
export class Trace {
  constructor(run, episode) {
    this.base = path`/runs/${run}/episodes/${episode}`;
    this.chunks = new Map();
  }

  chunk(n) {
    if (!this.chunks.has(n)) {
      const kept = {};
      kept.coming = get(`${this.base}/ticks`, { from: n * CHUNK, to: n * CHUNK + CHUNK - 1 }).then((found) => { [kept.ticks, kept.last] = [found.ticks, found.last]; });
      kept.coming.catch(() => this.chunks.delete(n));
      this.chunks.set(n, kept);
    }
    return this.chunks.get(n);
  }

  /** What happened at a tick, undefined after the last one. */
  async tick(n) {
    const kept = this.chunk(Math.floor(n / CHUNK));
    if (!kept.ticks) await kept.coming;
    if (n % CHUNK > CHUNK / 2 && kept.last > n + CHUNK / 2) this.chunk(Math.floor(n / CHUNK) + 1);
    return kept.ticks[n % CHUNK];
  }
}

/** Resolves when the browser draws next; soon where it draws nothing, because the page is not on top. */
export const frame = () => new Promise((done) => (document.hidden ? setTimeout(done, 30) : requestAnimationFrame(done)));
