"""What stands on disk of a room, at every moment at which it may be closed or its server killed."""

import asyncio
import threading

import msgspec
import pytest
from guests import Guest, go, headless, kitchen, over, record_of

from crossplay.agents import make_agent
from crossplay.kernel import Agent, CrossplayError
from crossplay.records import RunFolder
from crossplay.study.verify import verify
from crossplay.web.desk import Conflict, Desk, Forbidden
from crossplay.web.play import rooms
from crossplay.web.play.record import Kept, Shelved, free_folder, unfinished
from crossplay.web.play.room import Room
from crossplay.web.play.seats import hashed

FOLDER = "play-kitchen-cramped_room"
BESIDE = {"p0": "person", "p1": "noop"}


def stay(told):
    return "stay"


async def began(tmp_path, **more):
    room = await Room.create(Desk(tmp_path), kitchen(**{"seats": BESIDE, **more}))
    guest = Guest(room, "p0")
    room.ready("p0")
    return room, guest, await guest.turn(0)


async def until(condition):
    """Until something is so."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def on_disk(folder):
    return msgspec.msgpack.decode((folder / "room" / "snapshot").read_bytes(), type=Shelved)


def test_what_is_written_late_does_not_replace_what_is_newer(tmp_path):
    """A snapshot waits for the disk while the room goes on and is closed."""

    async def work():
        room, guest, turn = await began(tmp_path, options={"horizon": 50})
        write, gate, inside, wrote = room.keeping.keeper.write, threading.Event(), threading.Event(), []

        def slow(kept, shelved):
            if threading.current_thread() is not threading.main_thread():
                inside.set()
                gate.wait(20)
            wrote.append(shelved.tick if shelved is not None else None)
            write(kept, shelved)

        guest.moves = lambda told: "stay" if told["tick"] < 3 else None
        room.answer("p0", turn, "stay")
        turn = await guest.turn(3)
        await until(lambda: room.keeping._task is None)
        room.keeping.keeper.write = slow
        room.keeping.snap()
        await asyncio.to_thread(inside.wait, 20)
        guest.moves = lambda told: "stay" if told["tick"] < 9 else None
        room.answer("p0", turn, "stay")
        await guest.turn(9)
        room.close()
        gate.set()
        await room.gone()
        assert wrote[:2] == [9, 3], "the older one came late"

    go(work)
    assert on_disk(tmp_path / FOLDER).tick == 9
    assert unfinished(tmp_path / FOLDER).status == "open"


def test_an_episode_that_is_over_is_kept_when_the_room_is_closed_while_it_is_written(tmp_path):
    said = []

    async def work():
        spec = kitchen(seats=BESIDE)
        room = await Room.create(Desk(tmp_path), spec, on_record=said.append)
        put, inside, gate = room.game.run.put, threading.Event(), threading.Event()

        def slow(record):
            inside.set()
            gate.wait(20)
            put(record)

        room.game.run.put = slow
        Guest(room, "p0", moves=stay)
        room.ready("p0")
        await asyncio.to_thread(inside.wait, 20)
        room.close("its owner")
        await asyncio.sleep(0.02)
        gate.set()
        await room.gone()
        assert [r["status"] for r in room.results] == ["horizon"]

    go(work)
    record, _ = record_of(tmp_path / FOLDER)
    assert record.ticks == 12
    assert [r.id for r in said] == [record.id]
    assert unfinished(tmp_path / FOLDER) is None, "nothing is left to be gone on with"
    assert not (tmp_path / FOLDER / "room" / "snapshot").exists()


def test_a_full_disk_is_told_and_the_game_goes_on(tmp_path):
    async def work():
        room, guest, turn = await began(tmp_path)
        write = room.keeping.keeper.write

        def fails(kept, shelved):
            raise OSError(28, "No space left on device")

        room.keeping.keeper.write = fails
        guest.moves = lambda told: "stay" if told["tick"] != 6 else None
        room.answer("p0", turn, "stay")
        await guest.turn(6)
        room.changed()
        await until(lambda: "No space left" in rooms.view_of(Desk(tmp_path), room).unkept)
        room.keeping.keeper.write = write
        room.changed()
        await until(lambda: room.keeping.problem == "")
        guest.moves = stay
        room.answer("p0", await guest.turn(6), "stay")
        await over(room)
        assert room.status == "over"

    go(work)
    assert record_of(tmp_path / FOLDER)[0].ticks == 12


def test_an_episode_that_cannot_be_kept_is_told_and_played(tmp_path):
    async def work():
        room, guest, turn = await began(tmp_path)

        def fails():
            raise NotImplementedError("this world cannot be kept")

        room.episode.env.snapshot = fails
        room.keeping.snap()
        assert "cannot be kept" in room.keeping.problem
        guest.moves = stay
        room.answer("p0", turn, "stay")
        await over(room)
        assert room.status == "over", room.why

    go(work)


def test_a_room_that_was_killed_after_its_last_commit_is_over_when_it_is_opened(tmp_path):
    async def work():
        desk = Desk(tmp_path)
        room = await Room.create(desk, kitchen(seats=BESIDE))
        state = room.kept(0)
        Guest(room, "p0", moves=stay)
        room.ready("p0")
        await over(room)
        (tmp_path / FOLDER / "room" / "state.json").write_bytes(msgspec.json.encode(state))
        assert [r.status for r in (await rooms.rooms(desk)).rooms] == ["left"]
        assert (await rooms.resume_room(desk, room.name)).status == "over"
        assert [r.status for r in (await rooms.rooms(desk)).rooms] == ["over"]
        with RunFolder.open(tmp_path / FOLDER, write=True):
            pass  # nobody holds the run any more

    go(work)


def test_how_often_an_episode_was_gone_on_with_is_in_its_record(tmp_path):
    async def cut(room, tick):
        guest = Guest(room, "p0", token=tokens.get("p0"), moves=lambda told: "stay" if told["tick"] < tick else None)
        tokens["p0"] = guest.token
        room.ready("p0")
        await guest.turn(tick)
        room.close("the server ended")
        await room.gone()

    async def work():
        await cut(await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "chef"})), 3)
        folder = tmp_path / FOLDER
        await cut(await Room.reopen(folder, unfinished(folder)), 7)
        room = await Room.reopen(folder, unfinished(folder))
        Guest(room, "p0", token=tokens["p0"], moves=stay)
        room.ready("p0")
        await over(room)

    class Stays(Agent):
        name = "stays"

        def act(self, obs):
            return "stay"

    tokens = {}
    go(work)
    record, events = record_of(tmp_path / FOLDER)
    assert record.extra["resumed"] == 2
    assert [e.agent for e in events if e.kind == "seat"] == ["person", "chef"]
    assert record.world == headless(kitchen(), [Stays(), make_agent("chef")]).world
    assert verify(tmp_path / FOLDER, "agents").ok


def test_a_damaged_snapshot_is_named_and_nothing_begins_anew_by_itself(tmp_path):
    async def work():
        room, guest, turn = await began(tmp_path)
        room.answer("p0", turn, "stay")
        await guest.turn(1)
        room.close()
        await room.gone()
        folder = tmp_path / FOLDER
        (folder / "room" / "snapshot").write_bytes(b"\x93 not what it was")
        for _ in range(2):
            with pytest.raises(CrossplayError, match="snapshot is damaged"):
                await Room.reopen(folder, unfinished(folder))
        (folder / "room" / "snapshot").unlink()
        again = await Room.reopen(folder, unfinished(folder))
        assert again.number == 0
        again.close(final=True)
        await again.gone()

    go(work)


def test_a_room_is_opened_again_once_however_often_that_is_asked(tmp_path):
    async def work():
        desk = Desk(tmp_path)
        made = await rooms.create_room(desk, kitchen(seats=BESIDE))
        name = made.room.room
        room = rooms.hall(desk).rooms[name]
        guest = Guest(room, "p0", token=made.invites[0].token)
        room.ready("p0")
        await guest.turn(0)
        await rooms.close_room(desk, name, rooms.Closing())
        found = await asyncio.gather(*(rooms.resume_room(desk, name) for _ in range(4)), return_exceptions=True)
        assert [f.status for f in found if not isinstance(f, Exception)] == ["waiting"], found
        assert all(isinstance(f, Conflict) for f in found if isinstance(f, Exception))
        assert (await rooms.resume_room(desk, name)).status == "waiting", "it is open: nothing to be done"
        rooms.hall(desk).rooms[name].close(final=True)
        await rooms.hall(desk).rooms[name].gone()
        with pytest.raises(CrossplayError, match="nothing left"):
            await rooms.resume_room(desk, name)

    go(work)


def test_what_was_answered_is_on_disk(tmp_path):
    """A server that is killed right after its answer knows the links it gave, and who plays."""

    async def work():
        desk = Desk(tmp_path)
        made = await rooms.create_room(desk, kitchen())
        name = made.room.room
        folder = rooms.hall(desk).rooms[name].folder

        def seats():
            return unfinished(folder).seats

        assert seats()["p0"].token == hashed(made.invites[0].token)
        again = await rooms.invite_person(desk, name, "p0")
        assert seats()["p0"].token == hashed(again.token)
        await rooms.hand_over_seat(desk, name, "p1", rooms.StandIn("chef"))
        assert seats()["p1"].stands_in["table"] == {"type": "chef"}
        taken = await rooms.take_seat(desk, name, "p1")
        assert (seats()["p1"].taken, seats()["p1"].token) == (True, hashed(taken.token))
        await rooms.give_back_seat(desk, name, "p1")
        assert (seats()["p1"].taken, seats()["p1"].token) == (False, "")
        rooms.hall(desk).rooms[name].close(final=True)
        await rooms.hall(desk).rooms[name].gone()

    go(work)


def test_rooms_that_are_made_at_once_have_folders_of_their_own(tmp_path):
    threads, found, start = [], [], threading.Barrier(8)

    def take():
        start.wait(20)
        found.append(free_folder(tmp_path, "play"))

    for _ in range(8):
        threads.append(threading.Thread(target=take))
        threads[-1].start()
    for thread in threads:
        thread.join(20)
    assert len(set(found)) == 8


def test_a_run_from_elsewhere_names_no_address_no_file_and_no_code(tmp_path):
    """A folder that was copied in is data: what a new room may not be made of, none is opened with."""

    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "chef"}))
        room.close()
        await room.gone()
        study, state = room.folder / "study.toml", (room.folder / "room" / "state.json").read_bytes()
        text = study.read_text()
        url = "http://127.0.0.1:9"
        for changes in (
            {'name = "kitchen/cramped_room"': f'name = "agentgym:{url}"'},
            {'name = "kitchen/cramped_room"': 'name = "qa/file"', "horizon = 12": 'path = "/etc/passwd"'},
            {"[models]": f'[models."smollm2-135m"]\nbackend = "http"\nurl = "{url}"'},
            {'type = "chef"': 'type = "python:os:system"'},
            {'type = "chef"': 'type = "policy:/etc/passwd"'},
        ):
            changed = text
            for before, after in changes.items():
                assert before in text
                changed = changed.replace(before, after)
            study.write_text(changed)
            with pytest.raises(Forbidden):
                await Room.reopen(room.folder, unfinished(room.folder))
        study.write_text(text)
        kept = unfinished(room.folder)
        kept.seats["p0"].stands_in = {"agent": "evil", "table": {"type": "python:os:system"}, "manifest": {}}
        with pytest.raises(Forbidden):
            await Room.reopen(room.folder, kept)
        assert (room.folder / "room" / "state.json").read_bytes() == state, "what could not be opened is as it was"
        again = await Room.reopen(room.folder, unfinished(room.folder))
        again.close(final=True)
        await again.gone()

    go(work)


def test_rooms_that_are_over_leave_nothing_behind(tmp_path):
    async def work():
        desk = Desk(tmp_path)
        here = rooms.hall(desk)
        spec = kitchen(options={"horizon": 2}, seats=BESIDE, study="many")
        first = await rooms.create_room(desk, spec)
        here.rooms[first.room.room].close(final=True)
        before = threading.active_count()
        for n in range(12):
            made = await rooms.create_room(desk, spec)
            room = here.rooms[made.room.room]
            guest = Guest(room, "p0", token=made.invites[0].token, moves=stay)
            room.ready("p0")
            if n % 2:
                await guest.until(lambda m: m["kind"] == "state")
                room.close(final=True)
            await room.gone()
            assert room.episode is None
            assert all(seat.shot is None and seat.turn is None for seat in room.seats.values())
        await asyncio.sleep(0.1)
        assert threading.active_count() <= before + 4  # of the shared pool
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not [name for name in names if name.startswith("room ")]

    go(work)


def test_older_states_are_read():
    old = b'{"room": "r", "spec": {"environment": "kitchen/cramped_room"}, "seats": {"p0": {"token": "t"}}}'
    kept = msgspec.json.decode(old, type=Kept)
    assert kept.seats["p0"].stands_in == {}
