// MessagePack in one page, for Node and browsers: what the wire of Crossplay needs, and nothing else.
// Whole numbers beyond 2**53 are BigInt; extensions go through two functions of the caller.
'use strict';

const DEPTH = 128; // lists and maps within each other

class Ext {
  constructor(code, data) {
    this.code = code;
    this.data = data; // Uint8Array
  }
}

// The value that these bytes hold. Throws where they are cut off, too deep, or go on. Reserves nothing that is not there.
function decode(bytes, onExt = (code, data) => new Ext(code, data)) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = new TextDecoder('utf-8', { fatal: true });
  let at = 0;

  function take(size) {
    if (size > bytes.length - at) throw new RangeError('a value is cut off');
    at += size;
    return at - size;
  }
  const small = (big) => (big >= -9007199254740991n && big <= 9007199254740991n ? Number(big) : big);
  const raw = (size) => bytes.subarray(take(size), at);
  const string = (size) => text.decode(raw(size));

  function list(size, depth) {
    if (size > bytes.length - at) throw new RangeError('a list is cut off');
    const found = [];
    for (let i = 0; i < size; i++) found.push(value(depth + 1));
    return found;
  }
  function map(size, depth) {
    if (2 * size > bytes.length - at) throw new RangeError('a map is cut off');
    const found = new Map();
    for (let i = 0; i < size; i++) {
      const key = value(depth + 1);
      found.set(key, value(depth + 1));
    }
    return found;
  }
  function ext(size) {
    const code = view.getInt8(take(1));
    return onExt(code, raw(size));
  }

  function value(depth) {
    if (depth > DEPTH) throw new RangeError('nested too deep');
    const b = bytes[take(1)];
    if (b < 0x80) return b;
    if (b < 0x90) return map(b & 15, depth);
    if (b < 0xa0) return list(b & 15, depth);
    if (b < 0xc0) return string(b & 31);
    if (b >= 0xe0) return b - 256;
    switch (b) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return raw(view.getUint8(take(1)));
      case 0xc5: return raw(view.getUint16(take(2)));
      case 0xc6: return raw(view.getUint32(take(4)));
      case 0xc7: return ext(view.getUint8(take(1)));
      case 0xc8: return ext(view.getUint16(take(2)));
      case 0xc9: return ext(view.getUint32(take(4)));
      case 0xca: return view.getFloat32(take(4));
      case 0xcb: return view.getFloat64(take(8));
      case 0xcc: return view.getUint8(take(1));
      case 0xcd: return view.getUint16(take(2));
      case 0xce: return view.getUint32(take(4));
      case 0xcf: return small(view.getBigUint64(take(8)));
      case 0xd0: return view.getInt8(take(1));
      case 0xd1: return view.getInt16(take(2));
      case 0xd2: return view.getInt32(take(4));
      case 0xd3: return small(view.getBigInt64(take(8)));
      case 0xd9: return string(view.getUint8(take(1)));
      case 0xda: return string(view.getUint16(take(2)));
      case 0xdb: return string(view.getUint32(take(4)));
      case 0xdc: return list(view.getUint16(take(2)), depth);
      case 0xdd: return list(view.getUint32(take(4)), depth);
      case 0xde: return map(view.getUint16(take(2)), depth);
      case 0xdf: return map(view.getUint32(take(4)), depth);
      default:
        if (b >= 0xd4 && b <= 0xd8) return ext(1 << (b - 0xd4));
        throw new RangeError(`no value begins with ${b}`);
    }
  }

  const found = value(0);
  if (at !== bytes.length) throw new RangeError('bytes after the value');
  return found;
}

// The bytes of a value: null, booleans, numbers, BigInt, strings, Uint8Array, arrays, Map, plain objects, Ext.
function encode(value) {
  const parts = [];
  let size = 0;

  function bytes(data) {
    parts.push(data);
    size += data.length;
  }
  function number(tag, width, set, n) {
    const part = new Uint8Array(1 + width);
    part[0] = tag;
    new DataView(part.buffer)[set](1, n);
    bytes(part);
  }
  function sized(n, tags, fixed, below) {
    if (n < below) bytes(Uint8Array.of(fixed | n));
    else if (n < 0x100 && tags[0]) number(tags[0], 1, 'setUint8', n);
    else if (n < 0x10000) number(tags[1], 2, 'setUint16', n);
    else number(tags[2], 4, 'setUint32', n);
  }
  function integer(n) {
    if (n >= 0 && n < 0x80) bytes(Uint8Array.of(n));
    else if (n < 0 && n >= -32) bytes(Uint8Array.of(n + 256));
    else if (n >= 0) number(0xcf, 8, 'setBigUint64', BigInt(n));
    else number(0xd3, 8, 'setBigInt64', BigInt(n));
  }

  function put(v) {
    if (v === null || v === undefined) bytes(Uint8Array.of(0xc0));
    else if (typeof v === 'boolean') bytes(Uint8Array.of(v ? 0xc3 : 0xc2));
    else if (typeof v === 'bigint') number(v < 0n ? 0xd3 : 0xcf, 8, v < 0n ? 'setBigInt64' : 'setBigUint64', v);
    else if (typeof v === 'number') Number.isSafeInteger(v) ? integer(v) : number(0xcb, 8, 'setFloat64', v);
    else if (typeof v === 'string') {
      const data = new TextEncoder().encode(v);
      sized(data.length, [0xd9, 0xda, 0xdb], 0xa0, 32);
      bytes(data);
    } else if (v instanceof Uint8Array) {
      sized(v.length, [0xc4, 0xc5, 0xc6], 0, 0);
      bytes(v);
    } else if (v instanceof Ext) {
      sized(v.data.length, [0xc7, 0xc8, 0xc9], 0, 0);
      bytes(Uint8Array.of(v.code & 255));
      bytes(v.data);
    } else if (Array.isArray(v)) {
      sized(v.length, [0, 0xdc, 0xdd], 0x90, 16);
      v.forEach(put);
    } else {
      const entries = v instanceof Map ? [...v] : Object.entries(v);
      sized(entries.length, [0, 0xde, 0xdf], 0x80, 16);
      for (const [key, held] of entries) {
        put(key);
        put(held);
      }
    }
  }

  put(value);
  const found = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    found.set(part, at);
    at += part.length;
  }
  return found;
}

module.exports = { Ext, decode, encode };
