"""Invariant 6: a call is shared only where the model is declared to repeat itself, and is asked greedily."""

import asyncio

import pytest
from asked import handle, request

from crossplay.kernel import Usage
from crossplay.models import Door, Reply
from crossplay.models.types import Capabilities
from crossplay.records.cassette import Cassette


class Counting:
    """A backend that counts what reaches it."""

    name, priced, concurrency = "counting", "", 8
    capabilities = Capabilities()

    def __init__(self, repeats):
        self.repeats, self.sent = repeats, 0

    def identity(self):
        return {"backend": "counting"}

    async def generate(self, requests, keys=()):
        self.sent += len(requests)
        text = str(self.sent)
        await asyncio.sleep(0.001)
        return [Reply(text=text, finish="stop", usage=Usage(1, 10, 1, 500)) for _ in requests]

    async def ready(self):
        pass

    async def aclose(self):
        pass


def asked(repeats, temperature, clones=5, cassette=None):
    """The answers that clones at different addresses get, what was sent, and what each handle counted."""
    backend = Counting(repeats)
    door = Door({"counting": backend}, cassette)
    handles = [handle(block=b) for b in range(clones)]

    async def go():
        model = door.model("counting")
        replies = await asyncio.gather(*(model.generate([request(temperature=temperature)], at=h) for h in handles))
        await door.aclose()
        return [r[0].text for r in replies]

    return asyncio.run(go()), backend.sent, [h.counts.get("shared_answers", 0) for h in handles]


@pytest.mark.parametrize(
    ("repeats", "temperature", "sent"), [(True, 0.0, 1), (True, 1.0, 5), (False, 0.0, 5), (False, 1.0, 5)]
)
def test_five_clones(repeats, temperature, sent):
    texts, found, shared = asked(repeats, temperature)
    assert found == sent and sum(shared) == 5 - sent
    assert len(set(texts)) == sent


def test_a_shared_answer_has_its_own_row_and_is_replayed_strictly(tmp_path):
    texts, _, _ = asked(True, 0.0, cassette=Cassette(tmp_path))
    again, sent, shared = asked(True, 0.0, cassette=Cassette(tmp_path, mode="strict"))
    assert again == texts and sent == 0 and sum(shared) == 4
    rows = list(Cassette(tmp_path, mode="strict").rows())
    assert len(rows) == 5 and sum(r.usage.calls for r in rows) == 1 and sum(r.usage.tok_in for r in rows) == 10


def test_a_later_run_of_the_same_folder_shares_what_was_paid(tmp_path):
    asked(True, 0.0, clones=2, cassette=Cassette(tmp_path))
    _, sent, _ = asked(True, 0.0, clones=6, cassette=Cassette(tmp_path))
    assert sent == 0
