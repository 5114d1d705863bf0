"""Floor 9, the command line: a face over all else.

Parses, calls the floors below, prints. No rule, statistic or file format lives here; all output
goes through `out`. Modules import what they need inside their functions, so that `--help` is fast.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 checked and found wrong, 2 bad input, 3 something
    outside is missing (model, endpoint, disk), 130 interrupted.
    """
    from crossplay.cli.app import app
    from crossplay.cli.out import fail

    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except KeyboardInterrupt:
        fail("interrupted; what had finished is kept")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        sys.exit(explain(error))
    sys.exit(code if isinstance(code, int) else 0)


def explain(error: Exception) -> int:
    """Print one line for an error of the user or the outside world; its exit code.

    A mistake of ours goes on up, with its traceback.
    """
    import cyclopts

    from crossplay.cli.out import fail
    from crossplay.kernel.types import CrossplayError

    if isinstance(error, CrossplayError):
        fail(str(error))
        return error.exit_code
    if isinstance(error, cyclopts.CycloptsError):
        fail(" ".join(str(error).split()))
        return 2
    if isinstance(error, OSError):
        fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))
        return 3
    raise error
