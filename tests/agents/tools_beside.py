"""Tools of a user, for tests: a module that `python:tools_beside:NAME` finds."""

import time
from typing import Annotated, Literal

import msgspec

calls = []


class Place(msgspec.Struct):
    row: int
    column: int = 0


def lookup(
    word: str, limit: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3, kind: Literal["noun", "verb"] = "noun"
) -> dict:
    """Looks a word up
    in a small dictionary.

    word: the word to look up
    limit (int): how many meanings
    """
    calls.append(word)
    return {"word": word, "limit": limit, "kind": kind}


async def later(a: int, b: int) -> int:
    """Adds, asynchronously."""
    return a + b


def at(place: Place) -> int:
    """A number of a place."""
    return place.row * 10 + place.column


def slow(seconds: float) -> str:
    """Sleeps."""
    time.sleep(seconds)
    return "woke"


def broken() -> str:
    """Raises."""
    raise ValueError("no luck today")


def leaves() -> str:
    """Wants to end the process."""
    raise SystemExit(3)


def long() -> str:
    """Much text."""
    return "ä" * 5000


def unnamed(*words: str) -> str:
    """Not a tool: its parameters have no names."""
    return " ".join(words)


not_a_tool = 7
