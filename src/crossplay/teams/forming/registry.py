"""A registry of agents: cards as plain data, and who fits a description best.

Searching is by words (BM25) or by meaning (cosine of sentence vectors). Neither draws anything: equal
scores stand in the order of their cost, then of the registry.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay.kernel import CrossplayError, nearest

__all__ = ["Card", "Embed", "Found", "Registry", "Words", "bm25", "card_of", "recall"]

Embed = Callable[[list[str]], np.ndarray]
"""texts -> float[n, d], rows of length 1 (such as `crossplay.models.embedders.embedder().embed`)."""
By = Literal["words", "embedding"]


class Card(msgspec.Struct, frozen=True):
    """What is known about an agent. cost: of one answer, in any unit; it decides between equals."""

    name: str
    description: str = ""
    skills: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cost: float = 0.0

    @property
    def text(self) -> str:
        """All that a search reads."""
        return "\n".join(x for x in (self.description, *self.skills, " ".join(self.tags)) if x)


def card_of(data: Mapping[str, Any]) -> Card:
    """A card from plain data, as of an A2A agent card: its skills are words, or tables of name, description and tags."""
    skills, tags = [], [str(t) for t in data.get("tags", ())]
    for skill in data.get("skills", ()):
        if isinstance(skill, Mapping):
            skills.append(": ".join(str(skill[k]) for k in ("name", "description") if skill.get(k)))
            tags += [str(t) for t in skill.get("tags", ())]
        else:
            skills.append(str(skill))
    if not isinstance(data.get("name"), str) or not data["name"]:
        raise CrossplayError("card: it has no name")
    return Card(
        data["name"],
        str(data.get("description", "")),
        tuple(skills),
        tuple(dict.fromkeys(tags)),
        float(data.get("cost", 0.0)),
    )


class Found(msgspec.Struct, frozen=True):
    """One result. score: BM25 (0: no word in common), or cosine."""

    name: str
    score: float


class Registry:
    """Agents that can be found. embed: what makes vectors of texts, where searches are by meaning."""

    def __init__(self, cards: Sequence[Card], embed: Embed | None = None) -> None:
        """Raises CrossplayError where a name stands twice."""
        self.cards = tuple(cards)
        self.names = tuple(c.name for c in self.cards)
        self._embed = embed
        self._vectors: np.ndarray | None = None
        twice = sorted(n for n, k in Counter(self.names).items() if k > 1)
        if twice:
            raise CrossplayError(f'registry: the name "{twice[0]}" stands twice')
        self._words = Words([c.text for c in self.cards])

    def card(self, name: str) -> Card:
        """The card of that name."""
        if name not in self.names:
            raise CrossplayError(f'registry: unknown agent "{name}".{nearest(name, self.names)}')
        return self.cards[self.names.index(name)]

    def scores(self, query: str, by: By = "words") -> list[float]:
        """One score per card, in the order of the registry."""
        if by == "words":
            return self._words.scores(query)
        if self._embed is None:
            raise CrossplayError("registry: a search by embedding needs an embedder")
        if not self.cards or not query.strip():
            return [0.0] * len(self.cards)
        if self._vectors is None:
            self._vectors = np.asarray(self._embed([c.text or c.name for c in self.cards]), np.float64)
        at = np.asarray(self._embed([query]), np.float64)[0]
        # Rounded, so that the last bits of a matrix product do not decide between equals.
        return [round(float(x), 6) for x in self._vectors @ at]

    def search(self, query: str, k: int = 5, by: By = "words", without: Collection[str] = ()) -> list[Found]:
        """The k that fit best, best first. without: names that are left out."""
        scores = self.scores(query, by)
        order = sorted(range(len(self.cards)), key=lambda i: (-scores[i], self.cards[i].cost, i))
        return [Found(self.names[i], scores[i]) for i in order if self.names[i] not in without][: max(0, k)]


class Words:
    """BM25 over texts. Words are runs of letters and digits, without case; a word of the query counts once.

    score(q, d) = sum over words t of q: idf(t) tf (k1 + 1) / (tf + k1 (1 - b + b |d| / mean |d|)),
    idf(t) = ln(1 + (N - n_t + 0.5) / (n_t + 0.5)). Source: Robertson and Zaragoza 2009, "The probabilistic relevance
    framework: BM25 and beyond"; the idf that is never negative is Lucene's.
    """

    def __init__(self, texts: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        words = [_words(t) for t in texts]
        mean = sum(map(len, words)) / max(1, len(words)) or 1.0
        self._n, self._k1 = len(words), k1
        self._norm = [k1 * (1 - b + b * len(w) / mean) for w in words]
        self._where: dict[str, list[tuple[int, int]]] = {}  # word -> (text, how often)
        for i, found in enumerate(words):
            for word, times in Counter(found).items():
                self._where.setdefault(word, []).append((i, times))

    def scores(self, query: str) -> list[float]:
        """One per text; 0 where no word is in common."""
        scores = [0.0] * self._n
        for word in dict.fromkeys(_words(query)):
            places = self._where.get(word, ())
            idf = math.log(1 + (self._n - len(places) + 0.5) / (len(places) + 0.5))
            for i, times in places:
                scores[i] += idf * times * (self._k1 + 1) / (times + self._norm[i])
        return scores


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def bm25(query: str, documents: Sequence[str]) -> list[float]:
    """Scores of documents for one query (see `Words`)."""
    return Words(documents).scores(query)


def recall(found: Sequence[Collection[str]], wanted: Sequence[Collection[str]]) -> float:
    """Mean over queries of the share of the wanted names that were found, in 0..1. With k names drawn from n by chance: k / n."""
    if len(found) != len(wanted) or not wanted or not all(wanted):
        raise CrossplayError(f"recall: {len(found)} results for {len(wanted)} queries, each of which wants somebody")
    return float(np.mean([len(set(f) & set(w)) / len(set(w)) for f, w in zip(found, wanted, strict=True)]))
