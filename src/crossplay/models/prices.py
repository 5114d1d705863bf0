"""The dated price table: what stored tokens cost. Unknown models are an error, never free."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError
from crossplay.models.options import read_options

__all__ = ["Price", "price_of", "table"]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD per million tokens. cache_read: prompt tokens that the endpoint read from its cache."""

    input: float
    output: float
    cache_read: float | None = None
    source: str = "given by the user"
    date: str = ""

    def __post_init__(self) -> None:
        if min(self.input, self.output, self.cache_read or 0.0) < 0:
            raise CrossplayError(f"price: input {self.input}, output {self.output} must not be negative")

    @classmethod
    def of(cls, given: Mapping[str, Any] | None, model: str) -> Price | None:
        """The price in a model's own table, if there is one."""
        return None if given is None else read_options(cls, given, f"models.{model}.price")

    def cost(self, tok_in: int, tok_out: int, cached: int = 0) -> float:
        """USD of one or of many calls; `cached` of the tok_in are charged as cache reads."""
        read = self.input if self.cache_read is None else self.cache_read
        return ((tok_in - cached) * self.input + cached * read + tok_out * self.output) / 1e6


def _read(text: str, source: str) -> dict[str, Price]:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CrossplayError(f"{source}: {error}") from None
    found = {}
    for provider in raw.values():
        if isinstance(provider, dict):
            for model, price in provider.get("models", {}).items():
                given = {"source": provider.get("source", source), "date": raw.get("date", ""), **price}
                found[model] = read_options(Price, given, f"{source}: {model}")
    return found


@cache
def table() -> dict[str, Price]:
    """Model name -> price: the shipped table, then the user's own `prices.toml` over it."""
    from crossplay.models.catalog import models_folder

    found = _read(resources.files("crossplay.models").joinpath("prices.toml").read_text(), "prices.toml")
    own: Path = models_folder() / "prices.toml"
    return found | _read(own.read_text(), str(own)) if own.is_file() else found


def price_of(model: str) -> Price:
    """The price of a model by the name its endpoint knows, or an error that says how to give one."""
    known = table()
    if model not in known:
        raise CrossplayError(
            f'no price is known for model "{model}", so its cost cannot be counted.{nearest(model, known)} '
            "Give it one: price = { input = 1.0, output = 2.0 } (USD per million tokens), or paid = false"
        )
    return known[model]
