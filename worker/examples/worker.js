// A worker in JavaScript, for Node 18 or newer: any legal action, drawn at the address (seat's key, tick).
//
//     crossplay worker check "node worker/examples/worker.js"
//
// No packages: msgpack.js beside this file is all it needs. It remembers nothing (state "none"), so no episodes are
// begun, and `ep` is the row's stream of chance. Node cannot map memory, so shared memory is read by position.
'use strict';

const fs = require('fs');
const net = require('net');
const { decode, encode } = require('./msgpack.js');

const LARGEST = 16 << 20; // bytes of a frame, until the welcome says
const EXIT = { fine: 0, noEngine: 1, version: 3, broken: 4 };
const VIEWS = ['array', 'text', 'data'];

class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// ---- Arrays -----------------------------------------------------------------------------------------------------

const READERS = {
  b1: (v, at) => v.getUint8(at) !== 0, u1: (v, at) => v.getUint8(at), i1: (v, at) => v.getInt8(at),
  u2: (v, at, le) => v.getUint16(at, le), i2: (v, at, le) => v.getInt16(at, le),
  u4: (v, at, le) => v.getUint32(at, le), i4: (v, at, le) => v.getInt32(at, le),
  u8: (v, at, le) => v.getBigUint64(at, le), i8: (v, at, le) => v.getBigInt64(at, le),
  f4: (v, at, le) => v.getFloat32(at, le), f8: (v, at, le) => v.getFloat64(at, le), f2: () => NaN,
};

// Rows of numbers: length is the first axis; at(row, i) is the i-th number of a row.
class Rows {
  constructor(dtype, shape, data) {
    const kind = typeof dtype === 'string' ? dtype.slice(1) : '';
    if (!(kind in READERS) || !Array.isArray(shape) || !shape.length || !shape.every((n) => Number.isInteger(n) && n >= 0)) {
      throw new Refused('BAD_VALUE', `no array: ${dtype} ${shape}`);
    }
    this.width = Number(kind[1]);
    this.length = shape[0];
    this.perRow = shape.slice(1).reduce((a, b) => a * b, 1);
    this.kind = kind[0];
    this.read = READERS[kind];
    this.little = dtype[0] !== '>';
    if (data.length !== this.length * this.perRow * this.width) throw new Refused('BAD_VALUE', 'an array of other bytes than its shape');
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  at(row, i) {
    return this.read(this.view, (row * this.perRow + i) * this.width, this.little);
  }
}

// Slots of shared memory: a head of 16 bytes (generation, length), then the bytes; the generation goes up with each use.
class Ring {
  constructor(fd, slots, size) {
    Object.assign(this, { fd, slots, size, stride: 16 + Math.ceil(size / 64) * 64 });
  }

  generation(slot) {
    const head = Buffer.alloc(8);
    fs.readSync(this.fd, head, 0, 8, slot * this.stride);
    return head.readBigUInt64LE(0);
  }

  get([slot, generation, dtype, shape]) {
    const kind = typeof dtype === 'string' ? dtype.slice(1) : '';
    const bytes = Array.isArray(shape) ? shape.reduce((a, b) => a * b, Number(kind[1])) : NaN;
    if (!(Number.isInteger(slot) && slot >= 0 && slot < this.slots && bytes >= 0 && bytes <= this.size)) {
      throw new Refused('BAD_FRAME', 'an array that does not fit its slot');
    }
    const stale = () => this.generation(slot) !== BigInt(generation);
    if (stale()) throw new Refused('BAD_FRAME', `slot ${slot} was written again`);
    const data = Buffer.alloc(bytes);
    fs.readSync(this.fd, data, 0, bytes, slot * this.stride + 16);
    if (stale()) throw new Refused('BAD_FRAME', `slot ${slot} was written again`); // while it was read
    return new Rows(dtype, shape, data);
  }
}

let ring = null;

// Arrays are made when they are looked at, so that what is wrong with one has the id of its request.
class Later {
  constructor(code, data) {
    Object.assign(this, { code, data });
  }

  rows() {
    if (this.code !== 1 && !(this.code === 2 && ring)) throw new Refused('BAD_VALUE', `unknown extension ${this.code}`);
    const parts = decode(this.data);
    if (!Array.isArray(parts)) throw new Refused('BAD_FRAME', 'an array that is none');
    if (this.code === 2) return ring.get(parts);
    if (!(parts[2] instanceof Uint8Array)) throw new Refused('BAD_FRAME', 'an array without bytes');
    return new Rows(...parts);
  }
}

// ---- What fields may hold ---------------------------------------------------------------------------------------

const whole = (v) => Number.isInteger(v) || typeof v === 'bigint';
const mapOf = (key) => (v) => v instanceof Map && [...v.keys()].every(key);
const listOf = (item) => (v) => Array.isArray(v) && v.every(item);
const isText = (v) => typeof v === 'string';
const isColumn = (v) => Array.isArray(v) || v instanceof Later;
const orNull = (test) => (v) => v === null || test(v);

// field -> [test, whether it must be there]
const FIELDS = {
  seat: {
    slot: [whole, true], seat: [isText, true], agent: [isText, true], env: [isText, true], view: [isText, true],
    spec: [mapOf(isText), true], shape: [listOf(whole)], dtype: [isText], rules: [isText], horizon: [whole],
  },
  bind: { seats: [listOf((v) => v instanceof Map), true], config: [mapOf(isText)] },
  act: {
    ep: [isColumn, true], slot: [(v) => whole(v) || isColumn(v), true], tick: [isColumn, true], obs: [isColumn, true],
    legal: [orNull(isColumn)], reward: [orNull(isColumn)], memo: [orNull(isColumn)], last: [mapOf(whole)],
    inbox: [mapOf(whole)], brief: [mapOf(whole)], deadline_ms: [whole],
  },
};

// The fields of a map that a message may have; others are ignored. Throws BAD_VALUE.
function fieldsOf(name, map) {
  const found = {};
  for (const [field, [test, needed]] of Object.entries(FIELDS[name])) {
    if (!map.has(field) && needed) throw new Refused('BAD_VALUE', `${name} without ${field}`);
    if (map.has(field) && !test(map.get(field))) throw new Refused('BAD_VALUE', `${name}: ${field} holds what it may not`);
    found[field] = map.has(field) ? map.get(field) : null;
  }
  return found;
}

// ---- Chance: 64 bits at an address, one round of the SplitMix64 finaliser for each counter -------------------------

const M64 = (1n << 64n) - 1n;
const GOLDEN = 0x9e3779b97f4a7c15n;

function mix(h, counter) {
  let z = ((h ^ ((counter * GOLDEN) & M64)) + GOLDEN) & M64;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & M64;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & M64;
  return z ^ (z >> 31n);
}

const pick = (key, n, tick) => Number(((mix(mix(key, tick), 0n) >> 32n) * BigInt(n)) >> 32n);

// ---- Verbs ------------------------------------------------------------------------------------------------------

const seats = new Map(); // slot -> number of names

function bind(message) {
  const found = new Map();
  for (const map of fieldsOf('bind', message).seats) {
    const seat = fieldsOf('seat', map);
    const names = seat.spec.get('names');
    if (!VIEWS.includes(seat.view)) throw new Refused('BAD_SPACE', `it reads ${VIEWS}, not ${seat.view}`);
    if (seat.spec.get('kind') !== 'names' || !Array.isArray(names) || !names.length) throw new Refused('BAD_SPACE', 'it picks names');
    found.set(Number(seat.slot), names.length);
  }
  for (const [slot, names] of found) seats.set(slot, names);
  return { t: 'ok' };
}

function act(message) {
  const fields = fieldsOf('act', message);
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Later) fields[name] = value.rows();
  }
  const rows = fields.ep.length;
  for (const name of ['slot', 'tick', 'obs', 'legal', 'reward', 'memo']) {
    const column = fields[name];
    if (column !== null && !whole(column) && column.length !== rows) throw new Refused('BAD_VALUE', `${rows} of ep, ${column.length} of ${name}`);
  }
  const at = (column, row) => {
    const found = column instanceof Rows ? column.at(row, 0) : column[row];
    if (!whole(found)) throw new Refused('BAD_VALUE', 'a column of no whole numbers');
    return found;
  };
  const values = [];
  for (let row = 0; row < rows; row++) {
    const slot = Number(whole(fields.slot) ? fields.slot : at(fields.slot, row));
    const names = seats.get(slot);
    if (names === undefined) throw new Refused('BAD_STATE', `slot ${slot} is not bound`);
    const legal = legalOf(fields.legal, row, names);
    if (!legal.length) throw new Refused('BAD_VALUE', `row ${row}: nothing is legal`);
    const key = BigInt(at(fields.ep, row)) & M64;
    values.push(legal[pick(key, legal.length, BigInt(at(fields.tick, row)) & M64)]);
  }
  return { t: 'acts', values };
}

// The names that a row may pick, by index.
function legalOf(legal, row, names) {
  const all = [...Array(names).keys()];
  const mask = legal instanceof Rows ? legal : legal === null ? null : legal[row];
  if (mask === null) return all;
  if (mask instanceof Rows ? mask.perRow !== names : !Array.isArray(mask) || mask.length !== names) {
    throw new Refused('BAD_VALUE', 'legal: a mask that does not fit the names');
  }
  return all.filter((i) => (mask instanceof Rows ? mask.at(row, i) : mask[i]));
}

const VERBS = { bind, act, ping: () => ({ t: 'ok' }), bye: () => ({ t: 'ok' }) };
const ONE_WAY = ['cancel', 'feedback', 'ok', 'error']; // a cancelled act was answered already: in order, once

function answer(message) {
  const id = message.get('id');
  const verb = message.get('t');
  if (ONE_WAY.includes(verb)) return null;
  if (!whole(id) || id <= 0) throw new RangeError('a request without an id');
  try {
    if (!Object.hasOwn(VERBS, verb)) throw new Refused('UNSUPPORTED', `it has ${Object.keys(VERBS)}`);
    return { id, ...VERBS[verb](message) };
  } catch (error) {
    return { t: 'error', id, code: error instanceof Refused ? error.code : 'INTERNAL', message: String(error.message) };
  }
}

// ---- The connection -----------------------------------------------------------------------------------------------

if (!process.env.CROSSPLAY_FD) {
  console.error('worker: no engine; Crossplay starts it: crossplay worker check "node worker.js"');
  process.exit(EXIT.noEngine);
}
const socket = new net.Socket({ fd: Number(process.env.CROSSPLAY_FD), readable: true, writable: true });
let limit = LARGEST;
let welcomed = false;
let waiting = Buffer.alloc(0);

function send(message, then) {
  const body = encode(message);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  socket.write(Buffer.concat([length, body]), then);
}

function stop(code, message) {
  socket.pause();
  if (message) console.error(`worker: ${message}`);
  if (code !== EXIT.broken) process.exit(code);
  send({ t: 'error', id: 0, code: 'BAD_FRAME', message: message || '' }, () => process.exit(code));
}

function welcome(message) {
  const version = message.get('v');
  if (message.get('t') === 'error') return stop(message.get('code') === 'VERSION' ? EXIT.version : EXIT.broken, message.get('message'));
  if (message.get('t') !== 'welcome' || !Array.isArray(version)) return stop(EXIT.broken, 'not welcomed');
  if (version[0] !== 1) return stop(EXIT.version, `the engine speaks ${version.join('.')}`);
  limit = Math.min(LARGEST, message.get('frame'));
  const shm = message.get('shm');
  if (shm instanceof Map && shm.size && process.env.CROSSPLAY_SHM) {
    ring = new Ring(Number(process.env.CROSSPLAY_SHM), shm.get('slots'), shm.get('size'));
  }
  welcomed = true;
}

// Takes one frame's body; false where the connection is over.
function handle(body) {
  let message = null;
  try {
    message = decode(body, (code, data) => new Later(code, data));
    if (!(message instanceof Map)) throw new RangeError('a frame holds one map');
    if (!welcomed) {
      welcome(message);
      return welcomed;
    }
    const found = answer(message);
    const last = message.get('t') === 'bye';
    if (found) send(found, last ? () => process.exit(EXIT.fine) : undefined);
    return !last;
  } catch (error) {
    stop(EXIT.broken, `not a frame: ${error.message}`);
    return false;
  }
}

socket.on('data', (data) => {
  waiting = waiting.length ? Buffer.concat([waiting, data]) : data;
  while (waiting.length >= 4) {
    const length = waiting.readUInt32LE(0);
    if (length === 0 || length > limit) return stop(EXIT.broken, `a frame of ${length} bytes`);
    if (waiting.length < 4 + length) return;
    const body = waiting.subarray(4, 4 + length);
    waiting = waiting.subarray(4 + length);
    if (!handle(body)) return;
  }
});
socket.on('close', () => process.exit(EXIT.fine)); // the engine is gone
socket.on('end', () => process.exit(EXIT.fine));
socket.on('error', () => process.exit(EXIT.fine));

send({
  t: 'hello', v: [1, 1], codecs: ['msgpack'], name: 'any-legal-javascript', version: '1', views: VIEWS, kinds: ['names'],
  batch: 1024, state: 'none', deterministic: true, shm: Boolean(process.env.CROSSPLAY_SHM), about: { node: process.version },
});
