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


def members(repeats, temperature, at_once, cassette=None):
    """What five members of one seat get who ask the very same text in one tick."""
    backend = Counting(repeats)
    backend.concurrency = at_once
    door = Door({"counting": backend}, cassette)
    obs = handle()

    async def go():
        model = door.model("counting")
        asked = request(temperature=temperature)
        replies = await asyncio.gather(*(model.generate([asked], at=obs.child(i)) for i in range(5)))
        door.cassette.keep([]).result()  # shared answers are committed behind; this comes after them
        rows = list(door.cassette.rows())
        await door.aclose()
        return [r[0].text for r in replies], rows

    texts, rows = asyncio.run(go())
    return texts, rows, backend.sent


@pytest.mark.parametrize("at_once", [1, 2, 8])
@pytest.mark.parametrize(("repeats", "temperature"), [(False, 1.0), (True, 1.0), (False, 0.0)])
def test_members_who_ask_the_same_in_one_tick_are_asked_apart(repeats, temperature, at_once):
    texts, rows, sent = members(repeats, temperature, at_once)
    assert sent == len(rows) == len({r.call.key for r in rows}) == 5
    assert len({r.call.digest for r in rows}) == 1 and len({r.idempotency for r in rows}) == 5
    assert sorted(texts) == ["1", "2", "3", "4", "5"]
    assert all(r.usage.calls == 1 and not r.borrowed for r in rows)


def test_members_of_a_repeating_model_asked_greedily_share_and_keep_rows_of_their_own():
    texts, rows, sent = members(True, 0.0, 8)
    assert sent == 1 and set(texts) == {"1"}
    assert len(rows) == 5 and sorted(r.borrowed for r in rows) == ["", *["shared"] * 4]


def test_one_member_who_samples_several_times_gets_several_samples():
    """k tells identical requests at one address apart."""
    backend = Counting(True)
    door = Door({"counting": backend})
    replies = asyncio.run(door.model("counting").generate([request(temperature=1.0)] * 5, at=handle()))
    assert backend.sent == 5 and len({r.text for r in replies}) == 5
    assert sorted(r.call.k for r in door.cassette.rows()) == [0, 1, 2, 3, 4]
