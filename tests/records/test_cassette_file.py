"""Exported cassettes: whole, small, equal byte for byte, replayed as they are, no damage unseen."""

import lzma

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError, Usage, pack
from crossplay.records.cassette import Call, Cassette, Damaged, Missing, call_key, verify_cassette
from crossplay.records.cassette_file import export_cassette, import_cassette, read_header

RULES = "These are the rules, and they are long. " * 40


def a_call(i, body=None, address=None):
    import hashlib

    messages = [{"role": "system", "text": RULES, "images": []}, {"role": "user", "text": f"q{i}", "images": []}]
    body = body or pack({"model": {"name": "m"}, "messages": messages, "seed": i, "temperature": 0.5})
    address = address or (7, "toy@1?n=2#wait", i // 10, 0, "p0", i % 10, (i % 3, 1))
    digest = hashlib.blake2b(body, digest_size=16).digest()
    return Call(call_key(digest, address, 0), digest, "m", address, 0, body)


def a_reply(text):
    return msgspec.msgpack.encode({"text": text, "finish": "stop", "usage": {"calls": 1}, "logprobs": [[["a", -0.1]]]})


def fill(path, n=40):
    with Cassette(path) as c:
        for i in range(n):
            row = c.intend(a_call(i)).result()
            if i % 7 == 3:
                c.fail(row, msgspec.msgpack.encode(["server", "no"]), Usage(calls=2), 2, 1).result()
            elif i % 11:
                c.answer(row, a_reply(f"answer {i}"), Usage(1, 10, 2, 3)).result()


def rows_of(path):
    with Cassette(path, "strict") as c:
        return list(c.rows())


def test_there_and_back_is_the_same(tmp_path):
    fill(tmp_path / "a")
    header = export_cassette(tmp_path / "a", tmp_path / "a.mcz", {"study": "s" * 64, "prices": "p" * 64})
    assert header == read_header(tmp_path / "a.mcz")
    assert (header["rows"], header["format"], header["study"], header["prices"]) == (40, 1, "s" * 64, "p" * 64)
    assert import_cassette(tmp_path / "a.mcz", tmp_path / "b") == 40
    assert import_cassette(tmp_path / "a.mcz", tmp_path / "b") == 0  # twice is once
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b") == rows_of(tmp_path / "a.mcz")
    with Cassette(tmp_path / "a", "strict") as a, Cassette(tmp_path / "b", "strict") as b:
        assert a.seal() == b.seal()  # the seals of the rows are kept
    assert not verify_cassette(tmp_path / "b" / "cassette.sqlite")
    export_cassette(tmp_path / "b", tmp_path / "b.mcz", {"prices": "p" * 64, "study": "s" * 64})
    assert (tmp_path / "a.mcz").read_bytes() == (tmp_path / "b.mcz").read_bytes()


def test_the_order_of_recording_leaves_no_mark(tmp_path):
    fill(tmp_path / "a")
    rows = rows_of(tmp_path / "a")
    with Cassette(tmp_path / "b") as c:
        for row in reversed(rows):
            c.keep([row]).result()
    for name in "ab":
        export_cassette(tmp_path / name, tmp_path / f"{name}.mcz")
    assert (tmp_path / "a.mcz").read_bytes() == (tmp_path / "b.mcz").read_bytes()


def test_a_file_is_replayed_as_it_is(tmp_path):
    fill(tmp_path / "a")
    export_cassette(tmp_path / "a", tmp_path / "a.mcz")
    folder = sorted(p.name for p in tmp_path.iterdir())
    with Cassette(tmp_path / "a", "strict") as run, Cassette(tmp_path / "a.mcz", "strict") as file:
        for i in range(45):
            assert file.find(a_call(i)) == run.find(a_call(i))
            assert file.get(a_call(i).key) == run.get(a_call(i).key)
        assert (len(file), file.spent(), file.counts(), file.seal()) == (40, run.spent(), run.counts(), run.seal())
        assert file.at(a_call(5).address) == run.at(a_call(5).address)
        with pytest.raises(Missing):
            file.intend(a_call(99))
    assert sorted(p.name for p in tmp_path.iterdir()) == folder
    with pytest.raises(CrossplayError, match="strict mode, or imported"):
        Cassette(tmp_path / "a.mcz")


def test_repeated_prompts_take_room_once(tmp_path):
    fill(tmp_path / "a", 400)
    export_cassette(tmp_path / "a", tmp_path / "a.mcz")
    asked = sum(len(r.call.request) for r in rows_of(tmp_path / "a"))
    assert asked > 600_000 and (tmp_path / "a.mcz").stat().st_size < 60 * 400
    assert lzma.decompress((tmp_path / "a.mcz").read_bytes()).count(RULES.encode()) == 1


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=6,
)
bodies = st.one_of(
    values,
    st.dictionaries(st.sampled_from(["messages", "seed", "model", "tool", "arguments"]), values, max_size=4),
)


@given(
    body=bodies,
    reply=values | st.dictionaries(st.integers(0, 9), values, max_size=2),
    raw=st.binary(max_size=12) | st.none(),
    digest=st.binary(min_size=16, max_size=16) | st.none(),
)
@settings(max_examples=150, deadline=None)
def test_any_request_and_any_reply_come_back_byte_for_byte(tmp_path_factory, body, reply, raw, digest):
    folder = tmp_path_factory.mktemp("any")
    call = a_call(1, pack(body))
    if digest is not None:  # of another caller's own making
        call = msgspec.structs.replace(call, digest=digest)
    with Cassette(None) as c:
        row = c.intend(call).result()
        c.answer(row, msgspec.msgpack.encode(reply) if raw is None else raw, Usage(1)).result()
        export_cassette(c, folder / "x.mcz")
        assert rows_of(folder / "x.mcz") == list(c.rows())
    with Cassette(folder / "x.mcz", "strict") as file:
        assert file.find(call) == rows_of(folder / "x.mcz")[0]


@given(at=st.integers(0), flip=st.integers(1, 255))
@settings(max_examples=80, deadline=None)
def test_any_flipped_byte_of_the_file_is_found(tmp_path_factory, at, flip):
    folder = tmp_path_factory.getbasetemp() / "packed"
    good = folder / "good.mcz"
    if not good.exists():
        fill(folder / "run")
        export_cassette(folder / "run", good)
    raw = bytearray(good.read_bytes())
    raw[at % len(raw)] ^= flip
    (folder / "bad.mcz").write_bytes(raw)
    with pytest.raises((Damaged, CrossplayError)):
        import_cassette(folder / "bad.mcz", folder / "target")
    assert not (folder / "target").exists()  # nothing is written before all seals were checked


def test_content_that_was_changed_inside_is_found(tmp_path):
    """Whoever packs again without the seals is found by those of the episodes."""
    import hashlib

    fill(tmp_path / "a")
    export_cassette(tmp_path / "a", tmp_path / "a.mcz")
    first, _, body = lzma.decompress((tmp_path / "a.mcz").read_bytes()).partition(b"\n")
    for resealed, message in ((False, "not what was sealed"), (True, r"the calls of toy@1\?n=2#wait, root 7, block 2")):
        changed = body.replace(b"answer 23", b"answer 24")
        header = msgspec.json.decode(first)
        if resealed:
            header["seal"] = hashlib.sha256(changed).hexdigest()
        (tmp_path / "b.mcz").write_bytes(lzma.compress(msgspec.json.encode(header) + b"\n" + changed))
        with pytest.raises(Damaged, match=message):
            import_cassette(tmp_path / "b.mcz", tmp_path / "b")


def test_an_import_does_not_overwrite_another_answer(tmp_path):
    fill(tmp_path / "a", 4)
    export_cassette(tmp_path / "a", tmp_path / "a.mcz")
    with Cassette(tmp_path / "b") as c:
        c.answer(c.intend(a_call(1)).result(), a_reply("something else"), Usage(1)).result()
        c.intend(a_call(2)).result()  # in flight when its run was killed: the answer is welcome
    with pytest.raises(CrossplayError, match="block 0, seat p0, tick 1.* has another answer here"):
        import_cassette(tmp_path / "a.mcz", tmp_path / "b")
    with Cassette(tmp_path / "b", "strict") as c:
        assert len(c) == 2


def test_other_files_and_formats_are_refused(tmp_path):
    file = tmp_path / "x.mcz"
    file.write_bytes(b"no such thing")
    with pytest.raises(Damaged, match="cannot be read"):
        Cassette(file, "strict")
    for header, message in (
        ({"crossplay": "run"}, "not an exported"),
        ({"crossplay": "cassette", "format": 9}, "format 9"),
    ):
        file.write_bytes(lzma.compress(msgspec.json.encode(header) + b"\n"))
        with pytest.raises(Damaged, match=message):
            Cassette(file, "strict")
    with pytest.raises(CrossplayError, match="ends in .mcz"):
        export_cassette(tmp_path / "none", tmp_path / "x.json")
    with pytest.raises(Missing, match="does not exist"):
        Cassette(tmp_path / "gone.mcz", "strict")
