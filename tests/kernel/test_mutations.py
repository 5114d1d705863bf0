"""Each property fails when its mechanism is broken: one mutation at a time, and the property that sees it.

A mutation that no property notices would be a hole in the tests of the invariants. The table is
printed in docs/invariants.md, and a test keeps the two together.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import more_worlds
from crossplay.kernel import book, chain, drivers, mail, obs, seeds, settle, types
from crossplay.kernel.types import ActionSpec, Fault
from properties import books, chains, going_on, information
from properties import seeds as seed_properties

# The package gives the functions of these names; what is mutated are their modules.
play_module = importlib.import_module("crossplay.kernel.play")
env_module = importlib.import_module("crossplay.kernel.env")
play_batch = importlib.import_module("crossplay.kernel.play_batch")


class Mutation(NamedTuple):
    invariant: int
    property: Callable[[], None]
    name: str
    apply: Callable[[pytest.MonkeyPatch], None]


MUTATIONS: list[Mutation] = []


def mutation(invariant: int, prop: Callable[[], None]):
    def keep(function: Callable[[pytest.MonkeyPatch], None]) -> Callable:
        MUTATIONS.append(Mutation(invariant, prop, function.__name__, function))
        return function

    return keep


# -- 1: seeds ---------------------------------------------------------------------------------------------


@mutation(1, seed_properties.the_world_meets_the_block_alone)
def the_world_key_holds_the_replicate(patch):
    patch.setattr(env_module, "env_key", lambda at, env_id: seeds.key("world", at.root, env_id, at.block, at.replicate))


@mutation(1, seed_properties.the_world_meets_the_block_alone)
def the_world_key_holds_the_lineup(patch):
    current: list[str] = [""]
    init = book.Book.__init__

    def begin(self, env, lineup, at, conduct):
        init(self, env, lineup, at, conduct)
        current[0] = ",".join(a.name for a in self.agents)

    patch.setattr(book.Book, "__init__", begin)
    patch.setattr(env_module, "env_key", lambda at, env_id: seeds.key("world", at.root, env_id, at.block, current[0]))


@mutation(1, seed_properties.the_world_meets_the_block_alone)
def the_world_key_forgets_the_root(patch):
    patch.setattr(env_module, "env_key", lambda at, env_id: seeds.key("world", env_id, at.block))


@mutation(1, seed_properties.rows_meet_the_block_alone)
def the_columnar_key_holds_a_count(patch):
    n = [0]

    def counted(at, env_id):
        n[0] += 1
        return seeds.key("world", at.root, env_id, at.block, n[0])

    patch.setattr(play_batch, "env_key", counted)


@mutation(1, seed_properties.chance_is_common_after_the_first_different_action)
def a_draw_consumes_a_counter(patch):
    n = [0]

    def consumed(k, m, *counters):
        if counters == (0, 0):
            n[0] = 0  # a reset starts the sequence
        n[0] += 1
        return seeds.pick(k, m, n[0])

    patch.setattr(more_worlds, "pick", consumed)


@mutation(1, seed_properties.agents_meet_their_own_stream)
def an_agent_key_forgets_the_replicate(patch):
    patch.setattr(obs, "seat_key", lambda at, seat: seeds.key("seat", at.root, at.block, seat))


@mutation(1, seed_properties.agents_meet_their_own_stream)
def an_agent_key_forgets_the_seat(patch):
    patch.setattr(obs, "seat_key", lambda at, seat: seeds.key("seat", at.root, at.block, at.replicate))


@mutation(1, seed_properties.agents_meet_their_own_stream)
def a_path_and_a_purpose_share_a_stream(patch):
    patch.setattr(obs.Observation, "key", lambda self, *purpose: seeds.key(self._scope.key, *self.path, *purpose))


@mutation(1, seed_properties.agents_meet_their_own_stream)
def an_agent_key_holds_the_name_of_the_agent(patch):
    patch.setattr(obs.Observation, "key", lambda self, *p: seeds.key(self._scope.key, self.agent.name, self.path, *p))


@mutation(1, seed_properties.seats_meet_one_stream_in_every_world)
def an_agent_key_holds_the_environment(patch):
    patch.setattr(obs.Scope, "key", property(lambda self: seeds.key("seat", self.env_id, self.at, self.seat)))


@mutation(1, seed_properties.golden_values)
def another_mixing_constant(patch):
    patch.setattr(seeds, "_C1", seeds._C1 ^ 2)


@mutation(1, seed_properties.nobody_draws_from_global_generators)
def a_random_link_uses_the_global_generator(patch):
    def drawn(self, key, tick, legal=None):
        allowed = [i for i in range(len(self.names)) if legal is None or legal[i]]
        return random.choice(allowed) if self.kind == "names" else original(self, key, tick, legal)

    original = ActionSpec.draw
    patch.setattr(ActionSpec, "draw", drawn)


@mutation(1, seed_properties.a_random_link_is_addressed_by_seat_and_tick)
def a_random_link_consumes_a_counter(patch):
    n = [0]
    original = ActionSpec.draw

    def drawn(self, key, tick, legal=None):
        n[0] += 1
        return original(self, key, n[0], legal)

    patch.setattr(ActionSpec, "draw", drawn)


# -- 2: chains ----------------------------------------------------------------------------------------------


def _records(patch, change):
    """Every record of a tick goes through `change` before it enters the chain."""
    packed, opened = chain.packed_struct, chain.open_record

    class Struct:
        def __init__(self, acting, seats):
            self.acting, self.seats, self.struct = acting, seats, packed(acting, seats)

        def pack(self, tag, tick, *rest):
            pairs = list(zip(rest[: 2 * self.acting : 2], rest[1 : 2 * self.acting : 2], strict=True))
            tick, pairs, _, rewards, print_ = change(tick, pairs, [], rest[2 * self.acting : -1], rest[-1])
            return self.struct.pack(tag, tick, *(x for p in pairs for x in p), *rewards, print_)

    patch.setattr(play_module, "packed_struct", Struct)
    patch.setattr(play_module, "open_record", lambda *fields: opened(*change(*fields)))


@mutation(2, chains.the_world_chain_holds_what_happened)
def the_world_chain_drops_rewards(patch):
    _records(patch, lambda tick, actions, words, rewards, print_: (tick, actions, words, [0.0] * len(rewards), print_))


@mutation(2, chains.the_world_chain_holds_what_happened)
def the_world_chain_drops_fingerprints(patch):
    _records(patch, lambda tick, actions, words, rewards, print_: (tick, actions, words, rewards, 0))


@mutation(2, chains.the_world_chain_holds_what_happened)
def the_world_chain_drops_mail(patch):
    _records(patch, lambda tick, actions, words, rewards, print_: (tick, actions, [], rewards, print_))


@mutation(2, chains.the_world_chain_holds_what_happened)
def the_world_chain_forgets_how_it_ended(patch):
    end = chain.WorldChain.end
    patch.setattr(chain.WorldChain, "end", lambda self, status: end(self, ""))


@mutation(2, chains.the_world_chain_holds_what_happened)
def the_world_chain_starts_without_the_game(patch):
    patch.setattr(book, "world_start", lambda env_id, names: chain.world_start("", names))


@mutation(2, chains.the_world_chain_holds_every_record)
def the_chain_drops_all_but_the_last_block(patch):
    def add(self, record):
        self.pending.append(record)
        if len(self.pending) == chain.BLOCK:
            self.pending.clear()

    patch.setattr(chain.WorldChain, "add", add)


@mutation(2, chains.the_world_chain_holds_every_record)
def the_chain_sorts_its_records(patch):
    end = chain.WorldChain.end
    patch.setattr(chain.WorldChain, "end", lambda self, status: (self.pending.sort(), end(self, status))[1])


@mutation(2, chains.the_world_chain_holds_nothing_else)
def the_world_chain_holds_the_agents_names(patch):
    finish = play_module.Episode.finish

    def named(self, status, detail):
        self.chain.add(",".join(a.name for a in self.agents).encode())
        return finish(self, status, detail)

    patch.setattr(play_module.Episode, "finish", named)


@mutation(2, chains.the_world_chain_holds_nothing_else)
def the_world_chain_holds_usage(patch):
    settled = book.Book.settle

    def recorded_usage(self, handle, i, answer, idle):
        value = settled(self, handle, i, answer, idle)
        self.chain.add(str(self.counts[i].get("calls", 0)).encode())
        return value

    patch.setattr(book.Book, "settle", recorded_usage)


@mutation(2, chains.a_negative_zero_is_zero)
def a_box_keeps_its_negative_zero(patch):
    patch.setattr(ActionSpec, "_check_box", lambda self, value: np.array(value, np.float64))


@mutation(2, chains.a_negative_zero_is_zero)
def data_keeps_its_negative_zero(patch):
    patch.setattr(types, "_canonical", lambda value: value)


@mutation(2, chains.values_are_canonical)
def data_keeps_its_order_and_kind(patch):
    """An environment would get tuples now and lists at replay; caught where the order of keys is recorded."""
    patch.setattr(types, "_canonical", lambda value: value)
    packer = types.msgspec.msgpack.Encoder(enc_hook=types._ext)
    patch.setattr(chain, "pack", packer.encode)


@mutation(2, chains.the_mind_chain_has_structural_order)
def the_mind_is_in_order_of_arrival(patch):
    patch.setattr(book, "sorted", lambda notes, key=None: list(notes), raising=False)


@mutation(2, chains.the_mind_chain_has_structural_order)
def the_mind_forgets_who_said_it(patch):
    link = chain.mind_link
    patch.setattr(
        book, "mind_link", lambda d, tick, seat, path, ord_, kind, data: link(d, tick, 0, (), ord_, kind, data)
    )


@mutation(2, chains.the_mind_chain_has_structural_order)
def the_mind_holds_usage(patch):
    note = obs.Observation.note

    def with_usage(self, kind, data, usage=None):
        note(self, kind, [data, usage.calls if usage else 0], usage)

    patch.setattr(obs.Observation, "note", with_usage)


@mutation(2, chains.rows_are_in_structural_order)
def seats_are_settled_backwards(patch):
    take = play_module.Episode._take

    def backwards(self, requests, answers, actions, played):
        take(self, requests[::-1], list(answers)[::-1], actions, played)

    patch.setattr(play_module.Episode, "_take", backwards)


@mutation(2, chains.faults_do_not_depend_on_the_batch)
def a_failed_batch_fails_all_rows(patch):
    def asked(agent, group):
        try:
            return list(agent.act_batch(list(group)))
        except Exception as error:
            return [drivers._fault(error)] * len(group)

    patch.setattr(drivers, "_ask_group", asked)


@mutation(2, chains.all_drivers_agree)
def a_driver_sees_answers_in_order_of_arrival(patch):
    tick = drivers._tick

    async def arrived(episode, asked, *rest):
        answers = await tick(episode, asked, *rest)
        return answers[::-1] if asked[0].op == "act" and asked[0].tick == 2 else answers

    patch.setattr(drivers, "_tick", arrived)


@mutation(2, chains.all_drivers_agree)
def batches_mix_up_their_episodes(patch):
    group = drivers._ask_group
    patch.setattr(drivers, "_ask_group", lambda agent, asked: group(agent, asked)[::-1])


@mutation(2, chains.columns_agree)
def columns_ignore_the_mask(patch):
    sound = play_batch._sound

    def trusting(answer, k):
        values, memo, odd = sound(answer, k)
        return np.minimum(values, 4), memo, odd

    patch.setattr(play_batch, "_sound", trusting)


@mutation(2, chains.columns_agree)
def columns_forget_memos(patch):
    sound = play_batch._sound
    patch.setattr(play_batch, "_sound", lambda answer, k: (sound(answer, k)[0], None, sound(answer, k)[2]))


@mutation(2, chains.columns_agree)
def columns_do_not_settle_by_the_same_books(patch):
    patch.setattr(play_batch._Row, "settle", lambda self, handle, i, answer, idle: 0)


@mutation(2, chains.what_is_remembered_is_the_seats)
def a_memo_is_kept_in_the_agent(patch):
    kept: dict[int, Any] = {}
    ask = play_module.Episode._ask

    def asked(self, wave, legals, deadline):
        requests = ask(self, wave, legals, deadline)
        for handle in requests:
            handle.memo = kept.get(id(handle.agent), handle.memo)
        return requests

    take = book.Book.take

    def taken(self, handle, i, answer, idle):
        if getattr(answer, "memo", None) is not None:
            kept[id(handle.agent)] = answer.memo
        return take(self, handle, i, answer, idle)

    patch.setattr(play_module.Episode, "_ask", asked)
    patch.setattr(book.Book, "take", taken)


def _snapshot_without(patch, change):
    snapshot = play_module.Episode.snapshot

    def less(self):
        state = types.unpack(snapshot(self))
        change(state)
        return types.pack(state)

    patch.setattr(play_module.Episode, "snapshot", less)


@mutation(2, going_on.a_snapshot_keeps_mail_and_memos)
def a_snapshot_without_mail(patch):
    _snapshot_without(patch, lambda s: s.update(mail=[[[] for _ in s["mail"][0]], [], []]))


@mutation(2, going_on.a_snapshot_keeps_mail_and_memos)
def a_snapshot_without_memos(patch):
    _snapshot_without(patch, lambda s: s.update(memos=[None] * len(s["memos"])))


@mutation(2, going_on.resumed_episodes_equal_whole_ones)
def a_snapshot_without_counts(patch):
    _snapshot_without(patch, lambda s: s.update(counts=[{} for _ in s["counts"]]))


@mutation(2, going_on.resumed_episodes_equal_whole_ones)
def a_snapshot_without_the_last_moves(patch):
    _snapshot_without(patch, lambda s: s.update(last=[None] * len(s["last"])))


@mutation(2, going_on.resumed_episodes_equal_whole_ones)
def a_snapshot_without_pending_records(patch):
    _snapshot_without(patch, lambda s: s.update(world=[s["world"][0], []]))


@mutation(2, going_on.resumed_episodes_equal_whole_ones)
def a_snapshot_without_the_mind(patch):
    _snapshot_without(patch, lambda s: s.update(mind=chain.mind_start()))


# -- 3: replay ----------------------------------------------------------------------------------------------


@mutation(3, going_on.replay_needs_no_agent)
def replay_swallows_faults(patch):
    init = drivers.Recorded.__init__

    def without(self, name, rows, names):
        init(self, name, [e for e in rows if e.kind != "fault"], names)

    patch.setattr(drivers.Recorded, "__init__", without)


@mutation(3, going_on.replay_needs_no_agent)
def replay_says_nothing(patch):
    init = drivers.Recorded.__init__
    patch.setattr(
        drivers.Recorded,
        "__init__",
        lambda self, name, rows, names: init(self, name, [e for e in rows if e.kind != "msg"], names),
    )


@mutation(3, going_on.replay_shows_a_changed_move)
def replay_copies_the_digest_it_should_find(patch):
    patch.setattr(chain.WorldChain, "add", lambda self, record: None)


# -- 4: fair information ------------------------------------------------------------------------------------


@mutation(4, information.equal_data_gives_equal_views)
def a_view_peeks_at_the_state(patch):
    patch.setattr(
        more_worlds.Weather, "view_text", lambda self, data: f"{data} {getattr(self, 'wet', 0)}", raising=False
    )


@mutation(4, information.equal_data_gives_equal_views)
def the_text_view_follows_the_order_of_keys(patch):
    from crossplay.kernel import env

    patch.setattr(env, "sorted", lambda items, key=None: items, raising=False)


@mutation(4, information.handles_die_with_their_tick)
def handles_live_on(patch):
    patch.setattr(obs.Observation, "_check", lambda self: None)


@mutation(4, information.words_reach_only_their_addressees)
def words_reach_everybody(patch):
    say = mail.Mail.say

    def loud(self, sender, messages, *rest):
        say(self, sender, [mail.Msg("*", m.body, m.channel) for m in messages], *rest)

    patch.setattr(mail.Mail, "say", loud)


# -- 5: nothing lost ------------------------------------------------------------------------------------------


@mutation(5, books.a_stop_is_never_made_a_fault)
def a_stop_becomes_a_fault(patch):
    class Nothing(Exception):
        pass

    patch.setattr(drivers, "Stop", Nothing)


@mutation(5, books.spent_calls_outlive_a_cancelled_answer)
def notes_of_a_cancelled_answer_are_lost(patch):
    inner = book.Book.inner
    patch.setattr(
        book.Book,
        "inner",
        lambda self, handle, i, answer: None if isinstance(answer, Fault) else inner(self, handle, i, answer),
    )


@mutation(5, books.no_answer_ends_a_run)
def words_are_not_looked_at(patch):
    patch.setattr(settle, "_words", lambda messages: (messages, ""))


@mutation(5, books.no_answer_ends_a_run)
def notes_are_stored_as_they_come(patch):
    patch.setattr(book, "storable", lambda value: value)


@mutation(5, books.no_column_ends_a_batch)
def columns_are_taken_as_they_come(patch):
    patch.setattr(play_batch, "_sound", lambda answer, k: (np.asarray(answer[0]), answer[1], {}))


# -- 6: counted honestly ----------------------------------------------------------------------------------------


@mutation(6, books.every_substitution_is_recorded_and_counted)
def links_are_not_counted(patch):
    count = book.Book.count
    patch.setattr(
        book.Book, "count", lambda self, i, name, k=1: None if name.startswith("link_") else count(self, i, name, k)
    )


@mutation(6, books.every_substitution_is_recorded_and_counted)
def faults_are_not_counted(patch):
    count = book.Book.count
    patch.setattr(book.Book, "count", lambda self, i, name, k=1: None if name == "invalid" else count(self, i, name, k))


@mutation(6, books.every_substitution_is_recorded_and_counted)
def a_served_move_is_called_the_agents_own(patch):
    original = settle.settle
    patch.setattr(
        book, "settle", lambda *a: original(*a)._replace(origin="own") if original(*a).fault else original(*a)
    )


@mutation(6, books.every_substitution_is_recorded_and_counted)
def usage_is_not_added_up(patch):
    count = book.Book.count
    patch.setattr(book.Book, "count", lambda self, i, name, k=1: None if name == "tok_in" else count(self, i, name, k))


@mutation(6, books.only_moves_that_were_wrong_are_replaced)
def the_fast_path_ignores_the_mask(patch):
    patch.setattr(book, "_fits", lambda value, spec, legal: 0 <= value < len(spec.names))


@mutation(6, books.only_moves_that_were_wrong_are_replaced)
def a_wrong_index_is_bent_into_range(patch):
    check = ActionSpec._check_name

    def bent(self, value, legal):
        return check(self, value % len(self.names) if isinstance(value, int) else value, legal)

    patch.setattr(ActionSpec, "_check_name", bent)


@mutation(6, books.only_moves_that_were_wrong_are_replaced)
def settle_ignores_the_order_of_the_chain(patch):
    serve = settle._serve
    patch.setattr(settle, "_serve", lambda links, *rest: serve(sorted(links, reverse=True), *rest))


@mutation(6, books.a_forfeit_stays_in_the_table)
def a_forfeit_has_the_score_so_far(patch):
    final = book.Book.final_score
    patch.setattr(
        book.Book, "final_score", lambda self, status, detail: (status, final(self, "terminal", detail)[1], detail)
    )


@mutation(6, books.a_forfeit_stays_in_the_table)
def forfeits_are_dropped(patch):
    finish = play_module.Episode.finish

    def void(self, status, detail):
        return finish(self, "void" if status.startswith("forfeit") else status, detail)

    patch.setattr(play_module.Episode, "finish", void)


@mutation(6, books.a_fault_of_the_world_is_not_the_agents)
def rewards_are_not_looked_at(patch):
    patch.setattr(play_module, "isfinite", lambda r: True)


@mutation(6, books.a_dead_worker_voids_the_episode)
def a_dead_worker_is_an_error(patch):
    original = settle.settle

    def alive(answer, *rest):
        return original(Fault("error", answer.detail) if isinstance(answer, Fault) else answer, *rest)

    patch.setattr(book, "settle", alive)


# -- 7: distinct episodes -----------------------------------------------------------------------------------------


@mutation(7, books.equal_courses_have_equal_digests)
def the_world_chain_starts_with_the_block(patch):
    init = book.Book.__init__

    def begin(self, env, lineup, at, conduct):
        init(self, env, lineup, at, conduct)
        self.start = chain._hash(self.start + types.pack([at.root, at.block]))

    patch.setattr(book.Book, "__init__", begin)


@mutation(7, books.equal_courses_have_equal_digests)
def digests_do_not_tell_moves_apart(patch):
    patch.setattr(chain.WorldChain, "add", lambda self, record: None)


@mutation(7, books.replicates_are_other_play_in_the_same_world)
def replicates_repeat_themselves(patch):
    patch.setattr(obs, "seat_key", lambda at, seat: seeds.key("seat", at.root, at.block, seat))


# -- 8: controls (what the kernel keeps of them) --------------------------------------------------------------------


@mutation(8, information.mail_that_is_off_reaches_nobody)
def mail_is_delivered_in_off_mode(patch):
    init = mail.Mail.__init__

    def on(self, channel, names, key):
        init(self, types.msgspec.structs.replace(channel, mode="on"), names, key)

    patch.setattr(mail.Mail, "__init__", on)


@mutation(8, information.mail_that_is_off_reaches_nobody)
def off_mode_forgets_what_was_said(patch):
    settled = book.Book.settle

    def silent(self, handle, i, answer, idle):
        if self.conduct.mail.mode == "off" and getattr(answer, "messages", ()):
            answer = types.Action(answer.value, memo=answer.memo)
        return settled(self, handle, i, answer, idle)

    patch.setattr(book.Book, "settle", silent)


@mutation(8, information.mail_is_delayed_by_as_many_ticks)
def mail_arrives_a_tick_late(patch):
    deliver = mail.Mail.deliver
    patch.setattr(mail.Mail, "deliver", lambda self, tick: deliver(self, tick - 1))


# -----------------------------------------------------------------------------------------------------------------


ESCAPES = {books.no_answer_ends_a_run, books.no_column_ends_a_batch}  # what they forbid is an escape of any kind


@pytest.mark.parametrize("broken", MUTATIONS, ids=lambda m: m.name)
def test_a_broken_mechanism_is_seen(broken, monkeypatch):
    wanted = (AssertionError, pytest.fail.Exception) + ((TypeError, IndexError) if broken.property in ESCAPES else ())
    with monkeypatch.context() as patch:
        broken.apply(patch)
        with pytest.raises(wanted):
            broken.property()


def test_every_property_has_a_mutation_that_it_sees():
    import properties

    guarded = {m.property for m in MUTATIONS}
    free = {p.__name__ for k in range(1, 9) for p in properties.of(k)} - {p.__name__ for p in guarded}
    # These guard combinations whose parts are broken above one by one.
    assert free <= {"branches_part_and_leave_the_trunk_alone"}


def test_the_table_in_the_documentation_is_complete():
    text = (Path(__file__).parents[2] / "docs" / "invariants.md").read_text()
    missing = [m.name for m in MUTATIONS if m.name not in text] + [
        m.property.__name__ for m in MUTATIONS if m.property.__name__ not in text
    ]
    assert not missing
