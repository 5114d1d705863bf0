"""The registry: scores and order against bm25s, meaning against plain cosines, ties that never move."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError, key, permutation
from crossplay.teams.forming import Card, Registry, recall
from crossplay.teams.forming.registry import Words, bm25, card_of

TEXTS = st.lists(st.sampled_from(["ape", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"]), min_size=1, max_size=9).map(
    " ".join
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=12), TEXTS)
def test_scores_are_those_of_bm25s(documents, query):
    """Its method "lucene" has the same idf and leaves out the factor k1 + 1."""
    bm25s = pytest.importorskip("bm25s")
    other = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    other.index([d.split() for d in documents], show_progress=False)
    words = list(dict.fromkeys(query.split()))
    known = [w for w in words if any(w in d.split() for d in documents)]
    wanted = other.get_scores(known) * 2.5 if known else np.zeros(len(documents))
    assert bm25(query, documents) == pytest.approx(list(wanted), abs=1e-4)


def test_ties_stand_in_the_order_of_cost_then_of_the_registry():
    cards = [Card("a", "cat", cost=2.0), Card("b", "cat"), Card("c", "dog"), Card("d", "cat")]
    found = Registry(cards).search("cat", 9)
    assert [f.name for f in found] == ["b", "d", "a", "c"] and found[0].score == found[2].score > found[3].score == 0
    assert [f.name for f in Registry(cards).search("cat", 2, without={"b"})] == ["d", "a"]
    assert Registry(cards).search("cat", 0) == [] and Registry([]).search("cat") == []


def test_cards_from_plain_data():
    card = card_of({
        "name": "ann", "description": "Counts things.", "cost": 2,
        "skills": [{"id": "s", "name": "sums", "description": "adds numbers", "tags": ["maths"]}, "poetry"],
    })  # fmt: skip
    assert card == Card("ann", "Counts things.", ("sums: adds numbers", "poetry"), ("maths",), 2.0)
    assert card.text == "Counts things.\nsums: adds numbers\npoetry\nmaths"
    with pytest.raises(CrossplayError, match="no name"):
        card_of({"skills": []})


def test_errors_name_the_nearest():
    with pytest.raises(CrossplayError, match="twice"):
        Registry([Card("a"), Card("a")])
    with pytest.raises(CrossplayError, match="counter"):
        Registry([Card("counter")]).card("counte")
    with pytest.raises(CrossplayError, match="embedder"):
        Registry([Card("a")]).search("x", by="embedding")
    with pytest.raises(CrossplayError, match="wants somebody"):
        recall([["a"]], [[]])


def test_a_search_by_meaning_is_by_cosine():
    axes = {"cat": [1.0, 0.0], "dog": [0.0, 1.0], "both": [0.6, 0.8]}
    registry = Registry(
        [Card("a", "cat"), Card("b", "dog"), Card("c", "both")], lambda texts: np.array([axes[t] for t in texts])
    )
    assert [(f.name, f.score) for f in registry.search("both", by="embedding")] == [("c", 1.0), ("b", 0.8), ("a", 0.6)]
    assert [f.score for f in registry.search(" ", by="embedding")] == [0.0] * 3


def test_meaning_finds_what_words_do_not():
    pytest.importorskip("wordllama")
    from crossplay.models.embedders import embedder

    about = {"doctor": "treats illness", "cook": "prepares meals", "pilot": "flies aeroplanes", "banker": "lends money"}
    asked = {"doctor": "patient sick", "cook": "dinner food", "pilot": "airplane flight", "banker": "loan cash"}
    registry = Registry([Card(n, t) for n, t in about.items()], embedder().embed)
    for by, least, most in (("words", 0.25, 0.25), ("embedding", 1.0, 1.0)):
        got = recall([[f.name for f in registry.search(asked[n], 1, by)] for n in about], [[n] for n in about])
        assert least <= got <= most, by


def test_recall_by_chance_is_k_of_n():
    n, k = 12, 3
    drawn = [[str(i) for i in permutation(key("r", j), n)[:k]] for j in range(4000)]
    assert recall(drawn, [["5", "7"]] * 4000) == pytest.approx(k / n, abs=0.012)
    assert recall([["a", "b"]], [["b", "c"]]) == 0.5


def test_an_index_is_asked_more_than_once():
    index = Words(["cat cat", "cat"])
    assert index.scores("cat") == index.scores("CAT cat") and index.scores("") == [0.0, 0.0]
