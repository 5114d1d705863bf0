"""The built-in tools: `calculator`, arithmetic by a walk over the syntax tree, and `python_sandbox`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from crossplay.agents.tools import FunctionTool, ToolError
from crossplay.kernel import CrossplayError, nearest

__all__ = ["SandboxTool", "calculator", "python_sandbox"]

LONGEST, NODES, BITS, ITEMS = 500, 200, 4096, 64
"""Limits of an expression: its characters, its nodes, the bits of a whole number, arguments of a function."""

Number = int | float


def _power(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        if a.bit_length() * b > BITS:
            raise ToolError("the power is too large")
        return int(a**b)
    value = a**b
    if isinstance(value, complex):
        raise ToolError("the result is not a real number")
    return value


def _factorial(n: Number) -> int:
    if not isinstance(n, int) or not 0 <= n <= 300:
        raise ToolError("factorial takes a whole number from 0 to 300")
    return math.factorial(n)


def _choose(n: Number, k: Number) -> int:
    if not (isinstance(n, int) and isinstance(k, int) and 0 <= n <= 1000 and 0 <= k <= 1000):
        raise ToolError("comb takes whole numbers from 0 to 1000")
    return math.comb(n, k)


def _rounded(x: Number, digits: Number = 0) -> Number:
    if not isinstance(digits, int) or not -300 <= digits <= 300:
        raise ToolError("round takes a whole number of digits")
    return round(x, digits) if digits else round(x)


BINARY: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
UNARY: dict[type, Callable[..., Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
NAMES = {"pi": math.pi, "e": math.e, "tau": math.tau}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "comb": _choose,
    "cos": math.cos,
    "degrees": math.degrees,
    "exp": math.exp,
    "factorial": _factorial,
    "floor": math.floor,
    "gcd": math.gcd,
    "lcm": math.lcm,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "max": lambda *xs: max(xs),
    "min": lambda *xs: min(xs),
    "radians": math.radians,
    "round": _rounded,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "sum": lambda *xs: sum(xs),
    "tan": math.tan,
}


def calculator(expression: str) -> str:
    """Evaluates one arithmetic expression and gives its value.

    Numbers, + - * / // % ** and parentheses; pi, e, tau; abs, ceil, comb, cos, degrees, exp,
    factorial, floor, gcd, lcm, log, log10, log2, max, min, radians, round, sin, sqrt, sum, tan.

    expression: for example (17 + 5) * 3 ** 2 / sqrt(2)
    """
    text = expression.strip().replace("^", "**").replace("×", "*").replace("÷", "/")
    if len(text) > LONGEST:
        raise ToolError(f"the expression is longer than {LONGEST} characters")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ToolError(f"this is no arithmetic expression: {text[:80]!r}") from None
    if sum(1 for _ in ast.walk(tree)) > NODES:
        raise ToolError("the expression is too long")
    try:
        value = _value(tree.body)
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    except OverflowError:
        raise ToolError("a number is too large") from None
    except (ValueError, TypeError) as error:
        raise ToolError(str(error)) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ToolError("the result is not finite")
    return repr(value)


def _value(node: ast.expr) -> Number:
    """The value of a node; whole numbers stay exact and bounded."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        return _bounded(BINARY[type(node.op)](_value(node.left), _value(node.right)))
    if isinstance(node, ast.UnaryOp) and type(node.op) in UNARY:
        return _bounded(UNARY[type(node.op)](_value(node.operand)))
    if isinstance(node, ast.Name):
        if node.id in NAMES:
            return NAMES[node.id]
        raise ToolError(f'unknown name "{node.id}".{nearest(node.id, [*NAMES, *FUNCTIONS])}')
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in FUNCTIONS:
            raise ToolError(f'unknown function "{node.func.id}".{nearest(node.func.id, FUNCTIONS)}')
        if len(node.args) > ITEMS or any(isinstance(a, ast.Starred) for a in node.args):
            raise ToolError(f"{node.func.id} takes at most {ITEMS} arguments")
        return _bounded(FUNCTIONS[node.func.id](*map(_value, node.args)))
    raise ToolError(f"not allowed in an expression: {type(node).__name__}")


def _bounded(value: Any) -> Number:
    if isinstance(value, complex) or (isinstance(value, float) and math.isnan(value)):
        raise ToolError("the result is not a real number")
    if isinstance(value, int) and value.bit_length() > BITS:
        raise ToolError("a whole number is too large")
    return value  # type: ignore[no-any-return]


def python_sandbox(code: str) -> str:
    """Runs a Python 3 program of your own and gives what it prints. No network, no packages, no files but its own.

    code: the program; print what you want to know
    """
    from crossplay.envs.sandbox import run_code

    outcome = run_code(code, timeout_s=10.0, cpu_s=5)
    printed = outcome.stdout.strip()
    if outcome.status != "ok":
        words = f"{outcome.status}: {outcome.detail}" if outcome.status != outcome.detail else outcome.status
        raise ToolError(f"{words}; it printed: {printed[-500:]}" if printed else words)
    return printed or "(it printed nothing)"


class SandboxTool(FunctionTool):
    """`python_sandbox`, where code can be shut in."""

    def __init__(self) -> None:
        super().__init__(python_sandbox)
        self.repeatable = True

    def ready(self) -> None:
        """Raise `CrossplayError` where code cannot be shut in."""
        from crossplay.envs.sandbox import available

        can, why = available()
        if not can:
            raise CrossplayError(f"tools: python_sandbox: code cannot be shut in here ({why})")
