// Deflated bytes (RFC 1951) unpacked at once: a picture is a few hundred bytes, and a stream takes longer than they do.

const LENGTH = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const LENGTH_BITS = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577];
const DISTANCE_BITS = DISTANCE.map((_, i) => (i < 4 ? 0 : (i >> 1) - 1));
const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]; // in which the lengths of the length codes come

/** A canonical code from the lengths of its words: how many there are of each length, and the symbols in their order. */
function code(lengths) {
  const counts = new Uint16Array(16), next = new Uint16Array(16), symbols = new Uint16Array(lengths.length);
  for (const length of lengths) counts[length]++;
  counts[0] = 0;
  for (let i = 1; i < 15; i++) next[i + 1] = next[i] + counts[i];
  lengths.forEach((length, symbol) => { if (length) symbols[next[length]++] = symbol; });
  return { counts, symbols };
}

const range = (from, to, value) => new Array(to - from).fill(value);
const FIXED = [code([...range(0, 144, 8), ...range(144, 256, 9), ...range(256, 280, 7), ...range(280, 288, 8)]), code(range(0, 30, 5))];

/** The `size` bytes that were packed. Throws where they are fewer, more, or none. */
export function inflate(packed, size) {
  const out = new Uint8Array(size);
  let at = 0, place = 0, held = 0, many = 0; // bytes read and written; bits that are held

  function bits(n) {
    while (many < n) {
      if (at >= packed.length) throw new RangeError("the picture ends too early");
      held |= packed[at++] << many;
      many += 8;
    }
    const found = held & ((1 << n) - 1);
    held >>>= n;
    many -= n;
    return found;
  }
  function symbol({ counts, symbols }) {
    for (let length = 1, word = 0, first = 0, index = 0; length < 16; length++) {
      word |= bits(1);
      if (word - first < counts[length]) return symbols[index + word - first];
      index += counts[length];
      first = (first + counts[length]) << 1;
      word <<= 1;
    }
    throw new RangeError("the picture holds no such code");
  }
  function codes() {
    const [literals, distances, given] = [bits(5) + 257, bits(5) + 1, bits(4) + 4];
    const first = new Array(19).fill(0);
    for (let i = 0; i < given; i++) first[ORDER[i]] = bits(3);
    const short = code(first), lengths = [];
    while (lengths.length < literals + distances) {
      const found = symbol(short);
      if (found < 16) lengths.push(found);
      else {
        const [value, times] = found === 16 ? [lengths.at(-1), 3 + bits(2)] : [0, found === 17 ? 3 + bits(3) : 11 + bits(7)];
        for (let i = 0; i < times; i++) lengths.push(value);
      }
    }
    return [code(lengths.slice(0, literals)), code(lengths.slice(literals))];
  }
  function stored() {
    held = many = 0;
    const length = packed[at] | (packed[at + 1] << 8);
    out.set(packed.subarray(at + 4, at + 4 + length), place);
    at += 4 + length;
    place += length;
  }
  function block([literals, distances]) {
    for (;;) {
      const found = symbol(literals);
      if (found < 256) {
        if (place >= size) throw new RangeError("the picture is too large");
        out[place++] = found;
        continue;
      }
      if (found === 256) return;
      const length = LENGTH[found - 257] + bits(LENGTH_BITS[found - 257]), back = symbol(distances);
      const from = place - DISTANCE[back] - bits(DISTANCE_BITS[back]);
      if (from < 0 || place + length > size) throw new RangeError("the picture is too large");
      if (place - from === 1) out.fill(out[from], place, place + length);
      else for (let i = 0; i < length; i++) out[place + i] = out[from + i]; // may reach into what it writes
      place += length;
    }
  }

  for (let last = 0; !last; ) {
    last = bits(1);
    const kind = bits(2);
    if (kind === 3) throw new RangeError("the picture is in no form that there is");
    if (kind === 0) stored();
    else block(kind === 1 ? FIXED : codes());
  }
  if (place !== size) throw new RangeError("the picture is too small");
  return out;
}
