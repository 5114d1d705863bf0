// The REST API. Whatever the page shows or does goes through here (pictures and play: through WebSockets).

export const PREFIX = "/api/v1";

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** A path with its parts escaped: path`/runs/${name}/episodes`. */
export function path(parts, ...values) {
  return parts.reduce((text, part, i) => text + encodeURIComponent(values[i - 1]) + part);
}

function address(where, query) {
  const found = new URL(PREFIX + where, location.origin);
  for (const [name, value] of Object.entries(query || {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") found.searchParams.append(name, one);
    }
  }
  return found;
}

async function ask(method, where, query, body, signal) {
  const answer = await fetch(address(where, query), {
    method,
    signal,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.status === 204) return null;
  const isJson = (answer.headers.get("content-type") || "").includes("json");
  if (!answer.ok) {
    const said = isJson ? (await answer.json()).error : await answer.text();
    throw new ApiError(answer.status, said || answer.statusText);
  }
  return isJson ? answer.json() : answer.text();
}

export const get = (where, query, signal) => ask("GET", where, query, undefined, signal);
export const post = (where, body = {}, query) => ask("POST", where, query, body);
export const put = (where, body = {}) => ask("PUT", where, {}, body);
export const remove = (where) => ask("DELETE", where, {});
/** The address of something to download or to show as a picture. */
export const link = (where, query) => address(where, query).href;

/** A WebSocket of this server, binary messages as ArrayBuffer. */
export function socket(where) {
  const found = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${where}`);
  found.binaryType = "arraybuffer";
  return found;
}

const REFUSED = 10000; // milliseconds after which a stream that was refused is asked for again

/**
 * Server-sent events: calls `heard(kind, data)`; returns what ends it. "hello" comes at the beginning and whenever the
 * connection was lost: whoever hears it asks for what there is now. Pages that nobody sees let go of their
 * connection, because a browser has few for one server; they hear "hello" when they are looked at again.
 */
export function listen(where, heard, query) {
  let source = null, later = 0;
  function look() {
    clearTimeout(later);
    if (document.hidden) {
      source?.close();
      source = null;
    } else if (!source || source.readyState === EventSource.CLOSED) {
      source = new EventSource(address(where, query));
      source.onmessage = (event) => {
        const { kind, ...data } = JSON.parse(event.data);
        heard(kind, data);
      };
      source.onerror = () => { if (source?.readyState === EventSource.CLOSED) later = setTimeout(look, REFUSED); };
    }
  }
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    clearTimeout(later);
    document.removeEventListener("visibilitychange", look);
    source?.close();
  };
}
