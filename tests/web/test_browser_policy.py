"""What the headers of the page are for, in a real browser: no script but its own files runs, and no other site holds it."""

import contextlib
import http.server
import threading

import pytest

from conftest import serving

pytestmark = pytest.mark.full

PLANT = """
async () => {
  const script = document.createElement("script");
  script.textContent = "window.ran = 'inline'";
  document.body.append(script);
  const button = document.createElement("div");
  button.innerHTML = "<button onclick=\\"window.ran = 'handler'\\">x</button><img src=x onerror=\\"window.ran = 'error'\\">"
    + "<svg><a href=\\"javascript:window.ran = 'link'\\"><text>y</text></a></svg><iframe srcdoc=\\"<script>parent.ran = 'frame'</script>\\"></iframe>";
  document.body.append(button);
  button.querySelector("button").click();
  button.querySelector("a").dispatchEvent(new MouseEvent("click", {bubbles: true}));
  const file = document.createElement("script");
  file.src = "data:text/javascript,window.ran = 'data'";
  document.body.append(file);
  const other = document.createElement("script");
  other.src = "http://localhost:9/x.js";
  document.body.append(other);
  const blocked = [];
  try { await fetch("http://localhost:9/"); } catch { blocked.push("fetch"); }
  document.body.append(Object.assign(document.createElement("base"), {href: "http://localhost:9/"}));
  const base = document.baseURI;
  await new Promise((done) => setTimeout(done, 300));
  return [window.ran, blocked, base];
}
"""


@contextlib.contextmanager
def elsewhere(body):
    """Another site: whatever is asked for, it answers with this page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_no_script_runs_that_is_not_a_file_of_the_page(address, chromium):
    page = chromium.new_context().new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    told = []
    page.on("console", lambda message: told.append(message.text))
    ran, blocked, base = page.evaluate(PLANT)
    assert ran is None and blocked == ["fetch"] and base.startswith(address)
    assert sum("Content Security Policy" in text for text in told) >= 6, told
    page.context.close()


def test_what_the_api_answers_runs_nothing_when_it_is_opened(address, chromium):
    page = chromium.new_context().new_page()
    answer = page.goto(f"{address}/api/v1/openapi.json")
    assert answer.status == 200 and "sandbox" in answer.headers["content-security-policy"]
    page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "document.documentElement.setAttribute('ran', 'yes')";
      document.body.append(script);
    }""")
    assert page.evaluate("document.documentElement.getAttribute('ran')") is None
    assert page.evaluate("window.origin") == "null", "it has no cookies of the page and asks it nothing"
    page.context.close()


def test_no_page_elsewhere_holds_or_reads_it(runs, chromium):
    """The server is the visitor's own and asks for no token: whatever reached it would be the owner."""
    site = serving(runs)
    address = next(site)
    hostile = f"""
    <iframe id=held src="{address}/"></iframe><img id=seen src="{address}/static/icon.svg">
    <script src="{address}/static/js/main.js" onload="window.loaded = true"></script>
    <script>
    window.tried = (async () => {{
      const found = {{}};
      for (const [name, options] of Object.entries({{
        read: {{}}, blind: {{mode: "no-cors"}}, sent: {{method: "POST", mode: "no-cors", body: "{{}}", credentials: "include"}},
        json: {{method: "POST", headers: {{"content-type": "application/json"}}, body: "{{}}"}},
      }})) {{
        try {{ found[name] = (await fetch("{address}/api/v1/runs", options)).status; }} catch {{ found[name] = "refused"; }}
      }}
      found.socket = await new Promise((done) => {{
        const socket = new WebSocket("{address.replace("http", "ws")}/ws/play/x");
        socket.onopen = () => done("open"); socket.onerror = () => done("refused");
      }});
      return found;
    }})();
    </script>"""
    with elsewhere(hostile) as there:
        page = chromium.new_context().new_page()
        page.goto(there)
        found = page.evaluate("window.tried")
        assert found == dict.fromkeys(("read", "blind", "sent", "json", "socket"), "refused")
        assert page.evaluate("document.getElementById('seen').naturalWidth") == 0
        assert page.evaluate("window.loaded") is None
        inside = page.frames[1]
        assert not inside.url.startswith(address) or inside.query_selector("body[data-ready]") is None
        page.evaluate(f"window.opened = window.open('{address}/')")
        page.wait_for_timeout(500)
        assert page.evaluate("window.opened.closed"), "a window that it opens is cut off from it"
        page.context.close()
    with contextlib.suppress(StopIteration):
        next(site)
