"""`crossplay seat mcp` as a process of its own: what the stdio tests start."""

import sys

from cyclopts import App
from wiring import wire

from crossplay.cli.seats import seat_mcp
from crossplay.kernel import CrossplayError

wire()
app = App()
app.command(seat_mcp, name="mcp")
try:
    sys.exit(app(result_action="return_value"))
except CrossplayError as error:
    print(f"crossplay: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
