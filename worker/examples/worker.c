/* A worker in plain C11: any legal action, drawn at the address (seat's key, tick).
 *
 *     cc -std=c11 -O2 -Wall -Wextra -o worker_c worker.c
 *     crossplay worker check ./worker_c
 *
 * Nothing but a C library and POSIX. It shows all that a worker needs: frames, enough MessagePack to read and
 * write them, columns of a batch, arrays inline and in shared memory, errors, and how it ends.
 * It remembers nothing (state "none"), so no episodes are begun, and `ep` is the row's stream of chance.
 */
#define _DEFAULT_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DEPTH = 64, LARGEST = 16 << 20, MAX_SLOT = 4096, MAX_ROWS = 4096, MAX_READ = 16 };
enum { EXIT_OK = 0, EXIT_VERSION = 3, EXIT_BROKEN = 4 };

static int sock;
static uint32_t frame_limit = LARGEST;

/* ---- MessagePack, reading ------------------------------------------------------------------------------- */

typedef struct { const uint8_t *at, *end; } Span; /* at == NULL: not there */
typedef enum { T_NIL, T_BOOL, T_INT, T_FLOAT, T_STR, T_BIN, T_LIST, T_MAP, T_EXT } Kind;
typedef struct {
    Kind kind;
    bool negative;      /* of T_INT */
    uint64_t number;    /* T_INT (two's complement), T_BOOL, or the number of elements or bytes */
    int8_t code;        /* of T_EXT */
    const uint8_t *body; /* first byte after the head */
} Head;

static uint64_t big_endian(const uint8_t *p, int bytes) {
    uint64_t n = 0;
    for (int i = 0; i < bytes; i++) n = n << 8 | p[i];
    return n;
}

/* The head of the value at s; false where it is cut off or none. Bytes of strings and the like are all there. */
static bool head(Span s, Head *h) {
    static const uint8_t widths[] = {[0xc4] = 1, [0xc5] = 2, [0xc6] = 4, [0xc7] = 1, [0xc8] = 2, [0xc9] = 4, [0xca] = 4,
        [0xcb] = 8, [0xcc] = 1, [0xcd] = 2, [0xce] = 4, [0xcf] = 8, [0xd0] = 1, [0xd1] = 2, [0xd2] = 4, [0xd3] = 8,
        [0xd9] = 1, [0xda] = 2, [0xdb] = 4, [0xdc] = 2, [0xdd] = 4, [0xde] = 2, [0xdf] = 4};
    if (!s.at || s.at >= s.end) return false;
    uint8_t b = *s.at;
    *h = (Head){.body = s.at + 1};
    if (b < 0x80) { h->kind = T_INT; h->number = b; return true; }
    if (b >= 0xe0) { h->kind = T_INT; h->negative = true; h->number = (uint64_t)(int64_t)(int8_t)b; return true; }
    if (b == 0xc0) { h->kind = T_NIL; return true; }
    if (b == 0xc2 || b == 0xc3) { h->kind = T_BOOL; h->number = b - 0xc2; return true; }
    if (b < 0x90) { h->kind = T_MAP; h->number = b & 15; return true; }
    if (b < 0xa0) { h->kind = T_LIST; h->number = b & 15; return true; }
    if (b < 0xc0) {
        h->kind = T_STR; h->number = b & 31;
    } else if (b >= 0xd4 && b <= 0xd8) { /* extensions of 1, 2, 4, 8, 16 bytes */
        if (s.end - h->body < 1) return false;
        h->kind = T_EXT; h->number = 1u << (b - 0xd4); h->code = (int8_t)*h->body++;
    } else {
        int width = b < sizeof widths ? widths[b] : 0;
        if (!width || s.end - h->body < width) return false;
        h->number = big_endian(h->body, width);
        h->body += width;
        if (b == 0xca || b == 0xcb) { h->kind = T_FLOAT; return true; }
        if (b >= 0xcc && b <= 0xcf) { h->kind = T_INT; return true; }
        if (b >= 0xd0 && b <= 0xd3) {
            int shift = 64 - 8 * width;
            int64_t n = (int64_t)(h->number << shift) >> shift;
            h->kind = T_INT; h->negative = n < 0; h->number = (uint64_t)n;
            return true;
        }
        if (b == 0xdc || b == 0xdd) { h->kind = T_LIST; return true; }
        if (b == 0xde || b == 0xdf) { h->kind = T_MAP; return true; }
        if (b >= 0xc7 && b <= 0xc9) {
            if (s.end - h->body < 1) return false;
            h->kind = T_EXT; h->code = (int8_t)*h->body++;
        } else {
            h->kind = b <= 0xc6 ? T_BIN : T_STR;
        }
    }
    return (uint64_t)(s.end - h->body) >= h->number;
}

/* The first byte after the value at s; NULL where it is cut off or too deep. Reserves nothing, whatever heads claim. */
static const uint8_t *after(Span s, int depth) {
    Head h;
    if (depth > DEPTH || !head(s, &h)) return NULL;
    if (h.kind == T_STR || h.kind == T_BIN || h.kind == T_EXT) return h.body + h.number;
    if (h.kind != T_LIST && h.kind != T_MAP) return h.body;
    uint64_t left = h.number * (h.kind == T_MAP ? 2 : 1);
    const uint8_t *p = h.body;
    while (left-- && p) p = after((Span){p, s.end}, depth + 1);
    return p;
}

static bool is(Span s, const char *text) {
    Head h;
    return head(s, &h) && h.kind == T_STR && h.number == strlen(text) && !memcmp(h.body, text, h.number);
}

/* The value under a key of a map that was looked at before; at == NULL where it has none. */
static Span get(Span map, const char *key) {
    Head h;
    if (!head(map, &h) || h.kind != T_MAP) return (Span){0};
    const uint8_t *p = h.body;
    for (uint64_t i = 0; i < h.number; i++) {
        const uint8_t *value = after((Span){p, map.end}, 0);
        const uint8_t *next = value ? after((Span){value, map.end}, 0) : NULL;
        if (!next) return (Span){0};
        if (is((Span){p, map.end}, key)) return (Span){value, next};
        p = next;
    }
    return (Span){0};
}

static bool integer(Span s, int64_t *n) {
    Head h;
    if (!head(s, &h) || h.kind != T_INT) return false;
    *n = (int64_t)h.number;
    return true;
}

/* ---- MessagePack, writing ------------------------------------------------------------------------------- */

static struct { uint8_t *data; size_t size, room; } out;

static void put(const void *data, size_t size) {
    if (out.size + size > out.room) {
        out.room = 2 * (out.size + size) + 256;
        out.data = realloc(out.data, out.room);
        if (!out.data) exit(EXIT_BROKEN);
    }
    if (size) memcpy(out.data + out.size, data, size);
    out.size += size;
}
static void put_byte(uint8_t b) { put(&b, 1); }
static void put_number(uint64_t n, int bytes) { while (bytes--) put_byte((uint8_t)(n >> 8 * bytes)); }
static void put_map(unsigned n) { put_byte(0x80 | n); } /* at most 15 */
static void put_int(uint64_t n) { if (n < 128) put_byte((uint8_t)n); else { put_byte(0xcf); put_number(n, 8); } }
static void put_bool(bool b) { put_byte(b ? 0xc3 : 0xc2); }
static void put_list(uint32_t n) { put_byte(0xdd); put_number(n, 4); }
static void put_str(const char *s) { size_t n = strlen(s); put_byte(0xda); put_number(n, 2); put(s, n); }
static void put_words(const char *const *words, unsigned n) { put_list(n); for (unsigned i = 0; i < n; i++) put_str(words[i]); }

/* ---- Frames --------------------------------------------------------------------------------------------- */

static void begin(void) { out.size = 0; put_number(0, 4); }

static void send_frame(void) {
    uint32_t n = (uint32_t)(out.size - 4);
    for (int i = 0; i < 4; i++) out.data[i] = (uint8_t)(n >> 8 * i);
    for (size_t done = 0; done < out.size;) {
        ssize_t wrote = write(sock, out.data + done, out.size - done);
        if (wrote <= 0) exit(EXIT_OK); /* the engine is gone */
        done += (size_t)wrote;
    }
}

static void send_error(uint64_t id, const char *code, const char *text) {
    begin();
    put_map(4);
    put_str("t"); put_str("error"); put_str("id"); put_int(id);
    put_str("code"); put_str(code); put_str("message"); put_str(text);
    send_frame();
}

static _Noreturn void broken(const char *text) {
    send_error(0, "BAD_FRAME", text);
    fprintf(stderr, "worker: %s\n", text);
    exit(EXIT_BROKEN);
}

static void send_ok(uint64_t id) {
    begin();
    put_map(2);
    put_str("t"); put_str("ok"); put_str("id"); put_int(id);
    send_frame();
}

static void read_exactly(uint8_t *to, size_t n) {
    while (n) {
        ssize_t got = read(sock, to, n);
        if (got <= 0) exit(EXIT_OK); /* the engine is gone */
        to += got;
        n -= (size_t)got;
    }
}

/* The next message: a whole map. A frame that is none ends the connection, as nothing after it can be told apart. */
static Span read_frame(void) {
    static uint8_t *body;
    static uint32_t room;
    uint8_t length[4];
    read_exactly(length, 4);
    uint32_t n = length[0] | (uint32_t)length[1] << 8 | (uint32_t)length[2] << 16 | (uint32_t)length[3] << 24;
    if (n == 0 || n > frame_limit) broken("a frame of no bytes, or over the limit");
    if (n > room) {
        body = realloc(body, n);
        if (!body) exit(EXIT_BROKEN);
        room = n;
    }
    read_exactly(body, n);
    Span all = {body, body + n};
    Head h;
    if (after(all, 0) != all.end || !head(all, &h) || h.kind != T_MAP) broken("a frame holds one MessagePack map");
    return all;
}

/* ---- What fields may hold ------------------------------------------------------------------------------- */

/* i int, s str, l list of int, S list of str, m map, M map by row, c column, C column or null, d data */
typedef struct { const char *name; char type; bool required; } Field;
static const Field SEAT[] = {{"slot", 'i', 1}, {"seat", 's', 1}, {"agent", 's', 1}, {"env", 's', 1}, {"view", 's', 1},
    {"spec", 'm', 1}, {"shape", 'l', 0}, {"dtype", 's', 0}, {"rules", 's', 0}, {"horizon", 'i', 0}, {0}};
static const Field BIND[] = {{"seats", 'd', 1}, {"config", 'm', 0}, {0}};
static const Field ACT[] = {{"ep", 'c', 1}, {"slot", 'd', 1}, {"tick", 'c', 1}, {"obs", 'c', 1}, {"legal", 'C', 0},
    {"reward", 'C', 0}, {"memo", 'C', 0}, {"last", 'M', 0}, {"inbox", 'M', 0}, {"brief", 'M', 0}, {"deadline_ms", 'i', 0}, {0}};

static bool elements(Span s, Kind want, int stride) {
    Head h, e;
    head(s, &h);
    const uint8_t *p = h.body;
    for (uint64_t i = 0; i < h.number * (uint64_t)stride; i++) {
        if (i % (uint64_t)stride == 0 && (!head((Span){p, s.end}, &e) || e.kind != want)) return false;
        p = after((Span){p, s.end}, 0);
    }
    return true;
}

static bool holds(Span s, char type) {
    Head h;
    if (!head(s, &h)) return false;
    switch (type) {
    case 'i': return h.kind == T_INT;
    case 's': return h.kind == T_STR;
    case 'l': return h.kind == T_LIST && elements(s, T_INT, 1);
    case 'S': return h.kind == T_LIST && elements(s, T_STR, 1);
    case 'm': return h.kind == T_MAP && elements(s, T_STR, 2);
    case 'M': return h.kind == T_MAP && elements(s, T_INT, 2);
    case 'c': return h.kind == T_LIST || h.kind == T_EXT;
    case 'C': return h.kind == T_NIL || h.kind == T_LIST || h.kind == T_EXT;
    default: return true;
    }
}

/* The name of the first field that holds what it may not; NULL where all do. */
static const char *misfit(Span map, const Field *fields) {
    for (const Field *f = fields; f->name; f++) {
        Span s = get(map, f->name);
        if (s.at ? !holds(s, f->type) : f->required) return f->name;
    }
    return NULL;
}

/* ---- Arrays --------------------------------------------------------------------------------------------- */

static struct { const uint8_t *map; uint64_t slots, size, stride; } ring;
static struct { uint64_t slot, generation; } used[MAX_READ]; /* what the message at hand refers to */
static int uses;

typedef struct { char kind; int bytes; bool swapped; uint64_t rows, per_row; const uint8_t *data; Span list; } Column;

static uint64_t generation_of(uint64_t slot) {
    uint64_t g;
    memcpy(&g, ring.map + slot * ring.stride, sizeof g);
    return g;
}

/* A column from a list or an array. NULL, or what is wrong with it. */
static const char *column(Span s, Column *c) {
    Head h, e;
    *c = (Column){0};
    if (!head(s, &h)) return "BAD_VALUE";
    if (h.kind == T_LIST) {
        c->list = s;
        c->rows = h.number;
        return NULL;
    }
    if (h.kind != T_EXT || (h.code != 1 && h.code != 2)) return "BAD_VALUE";
    Span ext = {h.body, h.body + h.number};
    int64_t slot = 0, generation = 0;
    if (after(ext, 0) != ext.end || !head(ext, &e) || e.kind != T_LIST || e.number != (h.code == 1 ? 3 : 4)) return "BAD_FRAME";
    const uint8_t *p = e.body;
    if (h.code == 2) { /* (slot, generation, dtype, shape) */
        if (!integer((Span){p, ext.end}, &slot)) return "BAD_FRAME";
        p = after((Span){p, ext.end}, 0);
        if (!integer((Span){p, ext.end}, &generation)) return "BAD_FRAME";
        p = after((Span){p, ext.end}, 0);
    }
    if (!head((Span){p, ext.end}, &e) || e.kind != T_STR || e.number != 3) return "BAD_VALUE"; /* e.g. <f4 */
    c->kind = (char)e.body[1];
    c->bytes = e.body[2] - '0';
    c->swapped = e.body[0] == '>';
    if (!strchr("biuf", c->kind) || !strchr("<>|=", e.body[0]) || !strchr("1248", e.body[2])) return "BAD_VALUE";
    p = e.body + e.number;
    if (!holds((Span){p, ext.end}, 'l') || !head((Span){p, ext.end}, &e) || e.number < 1) return "BAD_VALUE";
    uint64_t total = 1, sides = e.number;
    p = e.body;
    for (uint64_t i = 0; i < sides; i++) {
        int64_t side;
        if (!integer((Span){p, ext.end}, &side) || side < 0 || side > LARGEST) return "BAD_VALUE";
        if (i == 0) c->rows = (uint64_t)side;
        total *= (uint64_t)side;
        if (total > (uint64_t)1 << 32) return "BAD_VALUE";
        p = after((Span){p, ext.end}, 0);
    }
    c->per_row = c->rows ? total / c->rows : 0;
    uint64_t bytes = total * (uint64_t)c->bytes;
    if (h.code == 1) {
        if (!head((Span){p, ext.end}, &e) || e.kind != T_BIN || e.number != bytes) return "BAD_VALUE";
        c->data = e.body;
        return NULL;
    }
    if (!ring.map || slot < 0 || (uint64_t)slot >= ring.slots || bytes > ring.size || uses == MAX_READ) return "BAD_FRAME";
    if (generation_of((uint64_t)slot) != (uint64_t)generation) return "BAD_FRAME"; /* it was written again */
    used[uses].slot = (uint64_t)slot;
    used[uses++].generation = (uint64_t)generation;
    c->data = ring.map + (uint64_t)slot * ring.stride + 16; /* in place */
    return NULL;
}

/* Whole numbers of a column; false where it holds anything else. */
static bool numbers(const Column *c, uint64_t *to) {
    if (!c->data) {
        Head h;
        if (!c->list.at || !elements(c->list, T_INT, 1) || !head(c->list, &h)) return false;
        const uint8_t *p = h.body;
        for (uint64_t i = 0; i < c->rows; i++, p = after((Span){p, c->list.end}, 0)) integer((Span){p, c->list.end}, (int64_t *)&to[i]);
        return true;
    }
    if ((c->kind != 'i' && c->kind != 'u') || c->per_row != 1) return false;
    for (uint64_t i = 0; i < c->rows; i++) {
        uint64_t n = 0;
        for (int b = 0; b < c->bytes; b++) n |= (uint64_t)c->data[i * (uint64_t)c->bytes + (uint64_t)(c->swapped ? c->bytes - 1 - b : b)] << 8 * b;
        to[i] = n;
    }
    return true;
}

/* ---- Chance: 64 bits at an address, one round of the SplitMix64 finaliser for each counter ---------------- */

static uint64_t mix(uint64_t h, uint64_t counter) {
    const uint64_t golden = 0x9E3779B97F4A7C15u;
    uint64_t z = (h ^ (counter * golden)) + golden;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static uint64_t pick(uint64_t key, uint64_t n, uint64_t tick) { return ((mix(mix(key, tick), 0) >> 32) * n) >> 32; }

/* ---- Verbs ---------------------------------------------------------------------------------------------- */

static uint32_t names_of[MAX_SLOT]; /* of the seat in each slot; 0: not bound */

static void bind_seats(Span m, uint64_t id) {
    static uint32_t found[MAX_SLOT];
    Head h, n;
    const char *wrong = misfit(m, BIND);
    Span seats = get(m, "seats");
    if (wrong || !head(seats, &h) || h.kind != T_LIST) { send_error(id, "BAD_VALUE", wrong ? wrong : "seats"); return; }
    memcpy(found, names_of, sizeof found);
    const uint8_t *p = h.body;
    for (uint64_t i = 0; i < h.number; i++) {
        Span seat = {p, seats.end}, view, names;
        int64_t slot = -1;
        if (!head(seat, &n) || n.kind != T_MAP || (wrong = misfit(seat, SEAT))) { send_error(id, "BAD_VALUE", wrong ? wrong : "seats"); return; }
        integer(get(seat, "slot"), &slot);
        view = get(seat, "view");
        names = get(get(seat, "spec"), "names");
        if (slot < 0 || slot >= MAX_SLOT) { send_error(id, "BAD_SPACE", "too many seats"); return; }
        if (!is(view, "array") && !is(view, "text") && !is(view, "data")) { send_error(id, "BAD_SPACE", "it reads array, text or data"); return; }
        if (!is(get(get(seat, "spec"), "kind"), "names") || !names.at || !holds(names, 'S') || !head(names, &n) || !n.number) {
            send_error(id, "BAD_SPACE", "it picks names");
            return;
        }
        found[slot] = (uint32_t)n.number;
        p = after(seat, 0);
    }
    memcpy(names_of, found, sizeof found);
    send_ok(id);
}

/* Which names row i may pick: sets ok[0..names); false where the mask does not fit. */
static bool mask_of(const Column *legal, uint64_t i, uint32_t names, bool *ok) {
    Head h, e;
    for (uint32_t j = 0; j < names; j++) ok[j] = true;
    if (legal->data) {
        if (legal->kind != 'b' || legal->per_row != names) return false;
        for (uint32_t j = 0; j < names; j++) ok[j] = legal->data[i * names + j];
        return true;
    }
    if (!legal->list.at || !head(legal->list, &h)) return true;
    const uint8_t *p = h.body;
    for (uint64_t k = 0; k < i; k++) p = after((Span){p, legal->list.end}, 0);
    Span row = {p, legal->list.end};
    if (!head(row, &e)) return false;
    if (e.kind == T_NIL) return true;
    if (e.kind != T_LIST || e.number != names || !elements(row, T_BOOL, 1)) return false;
    const uint8_t *q = e.body;
    for (uint32_t j = 0; j < names; j++, q++) ok[j] = *q == 0xc3;
    return true;
}

static void act(Span m, uint64_t id) {
    static uint64_t eps[MAX_ROWS], slots[MAX_ROWS], ticks[MAX_ROWS], values[MAX_ROWS];
    const char *const columns[] = {"ep", "tick", "obs", "slot", "legal", "reward", "memo"};
    Column c[7] = {0};
    int64_t one = -1;
    const char *wrong = misfit(m, ACT);
    if (wrong) { send_error(id, "BAD_VALUE", wrong); return; }
    uses = 0;
    for (int i = 0; i < 7; i++) {
        Span s = get(m, columns[i]);
        Head h;
        if (!s.at || (head(s, &h) && h.kind == T_NIL) || (i == 3 && integer(s, &one))) continue;
        const char *code = column(s, &c[i]);
        if (code) { send_error(id, code, columns[i]); return; }
        if (c[i].rows != c[0].rows) { send_error(id, "BAD_VALUE", columns[i]); return; }
    }
    uint64_t rows = c[0].rows;
    if (rows > MAX_ROWS) { send_error(id, "BAD_VALUE", "more rows than it said that it takes"); return; }
    if (one >= 0) for (uint64_t i = 0; i < rows; i++) slots[i] = (uint64_t)one;
    if (!numbers(&c[0], eps) || !numbers(&c[1], ticks) || (one < 0 && !numbers(&c[3], slots))) { send_error(id, "BAD_VALUE", "a column of no whole numbers"); return; }
    for (uint64_t i = 0; i < rows; i++) {
        if (slots[i] >= MAX_SLOT || !names_of[slots[i]]) { send_error(id, "BAD_STATE", "a slot that is not bound"); return; }
        uint32_t names = names_of[slots[i]], legal = 0;
        bool *ok = malloc(names);
        if (!ok) exit(EXIT_BROKEN);
        bool fits = mask_of(&c[4], i, names, ok);
        for (uint32_t j = 0; fits && j < names; j++) legal += ok[j];
        uint64_t nth = legal ? pick(eps[i], legal, ticks[i]) : 0;
        for (uint32_t j = 0; legal && j < names; j++) {
            if (ok[j] && nth-- == 0) { values[i] = j; break; }
        }
        free(ok);
        if (!legal) { send_error(id, "BAD_VALUE", "legal: a mask that does not fit, or allows nothing"); return; }
    }
    for (int i = 0; i < uses; i++) { /* what was read in place is still what was sent */
        if (generation_of(used[i].slot) != used[i].generation) { send_error(id, "BAD_FRAME", "shared memory was written again"); return; }
    }
    begin();
    put_map(3);
    put_str("t"); put_str("acts"); put_str("id"); put_int(id);
    put_str("values"); put_list((uint32_t)rows);
    for (uint64_t i = 0; i < rows; i++) put_int(values[i]);
    send_frame();
}

static void hello(void) {
    static const char *const codecs[] = {"msgpack"}, *const views[] = {"array", "text", "data"}, *const kinds[] = {"names"};
    begin();
    put_map(11);
    put_str("t"); put_str("hello");
    put_str("v"); put_list(2); put_int(1); put_int(1);
    put_str("codecs"); put_words(codecs, 1);
    put_str("name"); put_str("any-legal-c");
    put_str("version"); put_str("1");
    put_str("views"); put_words(views, 3);
    put_str("kinds"); put_words(kinds, 1);
    put_str("batch"); put_int(MAX_ROWS);
    put_str("state"); put_str("none");
    put_str("deterministic"); put_bool(true);
    put_str("shm"); put_bool(getenv("CROSSPLAY_SHM") != NULL);
    send_frame();
}

/* Takes the welcome; ends where the versions do not fit. */
static void greet(void) {
    hello();
    Span m = read_frame(), v = get(m, "v"), shm = get(m, "shm"), t = get(m, "t");
    Head h, major;
    int64_t n;
    if (is(t, "error")) exit(is(get(m, "code"), "VERSION") ? EXIT_VERSION : EXIT_BROKEN);
    if (!is(t, "welcome") || !head(v, &h) || h.kind != T_LIST || h.number != 2) exit(EXIT_BROKEN);
    if (!head((Span){h.body, v.end}, &major) || major.kind != T_INT || major.number != 1) {
        fprintf(stderr, "worker: the engine speaks another version\n");
        exit(EXIT_VERSION);
    }
    if (integer(get(m, "frame"), &n) && n > 0 && n < LARGEST) frame_limit = (uint32_t)n;
    int64_t slots, size;
    const char *fd = getenv("CROSSPLAY_SHM");
    if (!fd || !integer(get(shm, "slots"), &slots) || !integer(get(shm, "size"), &size) || slots < 1 || size < 1) return;
    ring.slots = (uint64_t)slots;
    ring.size = (uint64_t)size;
    ring.stride = 16 + (ring.size + 63) / 64 * 64; /* a head of generation and length, then the bytes */
    void *map = mmap(NULL, ring.slots * ring.stride, PROT_READ, MAP_SHARED, atoi(fd), 0);
    if (map == MAP_FAILED) exit(EXIT_BROKEN);
    ring.map = map;
}

int main(void) {
    const char *fd = getenv("CROSSPLAY_FD");
    if (!fd) {
        fprintf(stderr, "worker: no engine; Crossplay starts it: crossplay worker check ./worker_c\n");
        return 1;
    }
    sock = atoi(fd);
    greet();
    for (;;) {
        Span m = read_frame(), t = get(m, "t");
        int64_t number = 0;
        bool asked = integer(get(m, "id"), &number) && number > 0;
        uint64_t id = (uint64_t)number;
        if (is(t, "error") && !asked) return EXIT_BROKEN;
        if (is(t, "cancel") || is(t, "feedback") || is(t, "ok") || is(t, "error") || is(t, "end")) {
            if (is(t, "end") && asked) send_error(id, "UNSUPPORTED", "it keeps no episodes");
            continue; /* a cancelled act was answered already, or will be: in order, once */
        }
        if (!asked) broken("a request without an id");
        if (is(t, "act")) act(m, id);
        else if (is(t, "bind")) bind_seats(m, id);
        else if (is(t, "ping")) send_ok(id);
        else if (is(t, "bye")) { send_ok(id); return EXIT_OK; }
        else send_error(id, "UNSUPPORTED", "it has bind, act, ping and bye");
    }
}
