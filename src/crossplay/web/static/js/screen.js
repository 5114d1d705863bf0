// Pictures of the binary messages that `web/pictures.py` makes, drawn on a canvas: enlarged by whole numbers, never blurred.

import { inflate } from "./inflate.js";

const HEADER = 20, PICTURE = 1, KEY = 1, DEFLATED = 2;

/** What a message says about itself: {kind, key, deflated, screen, tick, width, height, box: [x, y, width, height]}. */
export function header(message) {
  const view = new DataView(message);
  const short = (at) => view.getUint16(at, true);
  const flags = view.getUint8(1);
  return {
    kind: view.getUint8(0), key: Boolean(flags & KEY), deflated: Boolean(flags & DEFLATED), screen: view.getUint8(2),
    tick: view.getUint32(4, true), width: short(8), height: short(10), box: [short(12), short(14), short(16), short(18)],
  };
}

/**
 * A canvas that shows what comes. Messages are drawn in the order in which they were given.
 * tallest: CSS pixels of height that it takes at most (default: 70 % of the window's).
 * drawn: how many messages were drawn; tick: of the last one.
 */
export class Screen {
  constructor(canvas, { tallest = null } = {}) {
    Object.assign(this, { canvas, tallest, drawn: 0, tick: null, image: null });
    canvas.classList.add("screen");
    this.pen = canvas.getContext("2d", { alpha: false });
    this.watch = new ResizeObserver(() => this.fit());
    if (canvas.parentElement) this.watch.observe(canvas.parentElement);
  }

  /** Draw a message (ArrayBuffer). Resolves to its tick. */
  async show(message) {
    const said = header(message);
    if (said.kind !== PICTURE) return this.tick;
    const packed = new Uint8Array(message, HEADER);
    return this.draw(said, said.deflated ? inflate(packed, said.box[2] * said.box[3] * 3) : packed);
  }

  draw({ key, tick, width, height, box: [x, y, wide, high] }, pixels) {
    if (key) this.clear(width, height);
    const to = this.image.data;
    for (let row = 0, from = 0; row < high; row++) {
      for (let at = ((y + row) * width + x) * 4, end = at + wide * 4; at < end; at += 4) {
        to[at] ^= pixels[from++];
        to[at + 1] ^= pixels[from++];
        to[at + 2] ^= pixels[from++];
      }
    }
    if (key) this.pen.putImageData(this.image, 0, 0);
    else if (wide) this.pen.putImageData(this.image, 0, 0, x, y, wide, high);
    this.tick = tick;
    this.drawn++;
    return tick;
  }

  clear(width, height) {
    const { canvas } = this;
    if (canvas.width !== width || canvas.height !== height || !this.image) {
      [canvas.width, canvas.height] = [width, height];
      this.image = this.pen.createImageData(width, height);
      this.fit();
    }
    const data = this.image.data;
    data.fill(0);
    for (let at = 3; at < data.length; at += 4) data[at] = 255;
  }

  /** As large as there is room for: a whole number of the device's pixels for each of the picture's. */
  fit() {
    const { canvas } = this, parent = canvas.parentElement;
    if (!parent || !this.image || !parent.clientWidth) return;
    const style = getComputedStyle(parent);
    const room = parent.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const high = this.tallest ?? innerHeight * 0.7, ratio = devicePixelRatio || 1;
    const times = Math.floor(Math.min((room * ratio) / canvas.width, (high * ratio) / canvas.height));
    canvas.style.imageRendering = times >= 1 ? "pixelated" : "auto"; // shrunk pictures are smoothed
    canvas.style.width = times >= 1 ? `${(canvas.width * times) / ratio}px` : `${Math.min(room, (high * canvas.width) / canvas.height)}px`;
    canvas.style.height = "auto";
  }

  /** The place on the picture (in its pixels) of a pointer event, e.g. for boards that are clicked. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.canvas.width, ((event.clientY - box.top) / box.height) * this.canvas.height].map(Math.floor);
  }

  close() {
    this.watch.disconnect();
  }
}
