"""What lives above the kernel fails its properties when its mechanism is broken: one mutation at a time.

As tests/kernel/test_mutations.py, for the run folder, the cassette, the door to models, the runner,
the tables and the statistics. The table is in docs/invariants.md, and a test keeps the two together.
"""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest

from crossplay.cli import tables as printed
from crossplay.kernel import CrossplayError, Observation, Usage, key, unpack
from crossplay.measure import metrics
from crossplay.measure.stats import intervals, robust
from crossplay.measure.stats.blocks import block_means
from crossplay.models.door import Model
from crossplay.records import (
    RunFolder,
    _cassette_ahead,
    _cassette_log,
    _cassette_overlay,
    _cassette_rows,
    _cassette_seal,
    _cassette_shelf,
    cassette,
    check,
)
from crossplay.records.cassette import Cassette, Commit
from crossplay.records.manifest import Manifest
from crossplay.records.reading import Reading
from crossplay.study import costs, equal, report, runner, templates, values
from crossplay.study import tables as results
from crossplay.study.spec import Controls, Study
from crossplay.study.stage import Stage
from crossplay.teams.room import Room
from properties import played, records, tables, teams
from properties.common import of_above

# The package gives the functions of these names; what is mutated are their modules.
comparing = importlib.import_module("crossplay.measure.stats.compare")
verifying = importlib.import_module("crossplay.study.verify")

INVARIANTS = (3, 5, 6, 7, 8, 9)


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


def _wrap(patch, owner, name, change):
    """`owner.name` is replaced by change(original)."""
    patch.setattr(owner, name, change(getattr(owner, name)))


# -- 3: verify ----------------------------------------------------------------------------------------------


@mutation(3, records.a_changed_byte_that_no_row_needs_is_found)
def the_digest_of_a_part_is_not_checked(patch):
    class Same(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            return True

    patch.setattr(check, "file_digest", lambda path: Same())


@mutation(3, records.rows_that_are_not_those_written_are_found)
def the_rows_of_a_part_are_not_checked(patch):
    patch.setattr(check, "checked", lambda ids, table, where, first: table)


def _deaf(patch, words):
    """A check of the manifest is left out: what it would say is not said."""
    _wrap(patch, check._Check, "say", lambda say: lambda self, what, *a, **k: words in what or say(self, what, *a, **k))


@mutation(3, records.a_changed_score_is_found_and_its_episode_named)
def the_row_seals_of_the_manifest_are_not_checked(patch):
    _deaf(patch, "entry of an episode")


@mutation(3, records.an_episode_that_was_taken_out_is_missed)
def episodes_are_not_counted(patch):
    def as_found(self):
        return self.query("SELECT count(*) FROM episodes")[0][0], 0

    patch.setattr(Manifest, "totals", as_found)


@mutation(3, records.an_episode_with_a_seal_of_its_own_is_found)
def the_sum_of_the_row_seals_is_not_checked(patch):
    _deaf(patch, "together")


@mutation(3, records.a_changed_call_is_found_and_named)
def the_row_seals_of_the_cassette_are_not_checked(patch):
    for module in (cassette, _cassette_rows, _cassette_shelf):
        patch.setattr(module, "check_row", lambda columns: None)


@mutation(3, records.a_call_that_was_taken_out_is_missed)
def the_seal_of_the_cassette_is_not_read(patch):
    patch.setattr(_cassette_seal, "_read_seal", lambda path: None)


@mutation(3, records.a_changed_byte_of_the_log_is_found_and_named)
def the_checksums_of_the_log_are_not_read(patch):
    patch.setattr(_cassette_log, "zlib", SimpleNamespace(crc32=lambda data: 0))


def _ignores(patch, name):
    """The replay is compared without one field of the record."""

    def without(difference):
        def compared(record, events, outcome):
            same = msgspec.structs.replace(record, **{name: getattr(outcome, name)})
            return difference(same, events, outcome)

        return compared

    _wrap(patch, verifying, "_difference", without)


@mutation(3, records.actions_tell_another_reward)
def actions_ignore_rewards(patch):
    _ignores(patch, "totals")


@mutation(3, records.actions_tell_another_score)
def actions_ignore_scores(patch):
    _ignores(patch, "score")


@mutation(3, records.actions_tell_another_ending)
def actions_ignore_endings(patch):
    _ignores(patch, "status")


@mutation(3, records.actions_tell_another_world)
def actions_ignore_the_world_chain(patch):
    _ignores(patch, "world")


@mutation(3, records.actions_tell_rows_of_another_world)
def actions_trust_the_stored_rows(patch):
    patch.setattr(verifying, "_steps", lambda events: {})


@mutation(3, records.agents_tell_another_mind)
def agents_ignore_the_mind_chain(patch):
    def copied(again):
        def outcomes(stage, cell, found, run):
            minds = {(r.block, r.replicate): r.mind for r in found}
            for at, outcome in again(stage, cell, found, run):
                outcome.mind = minds[at.block, at.replicate]
                yield at, outcome

        return outcomes

    _wrap(patch, verifying, "_again", copied)


@mutation(3, records.agents_are_asked_again)
def agents_are_only_replayed(patch):
    patch.setattr(verifying, "_opaque", lambda stage, cell: "can only be replayed")


# -- 5: nothing lost ------------------------------------------------------------------------------------------


@mutation(5, records.an_episode_is_reported_after_its_commit)
def put_returns_before_the_commit(patch):
    def queued(self, some):
        self._pending += [self._item(r) for r in some]  # committed when the run is closed

    patch.setattr(RunFolder, "put_many", queued)


@mutation(5, records.an_episode_is_reported_after_its_commit)
def the_runner_reports_and_then_commits(patch):
    def reported_first(play):
        def played_first(stage, run, how, jobs, on_episode, on_start):
            put = run.put_many

            def late(some):
                for record in some:
                    on_episode(record)
                put(some)

            run.put_many = late
            return play(stage, run, how, jobs, None, on_start)

        return played_first

    _wrap(patch, runner, "_run", reported_first)


def _done(row) -> Commit[Any]:
    return Commit(None, (), row)


@mutation(5, records.a_call_is_logged_before_it_is_sent)
def an_intent_is_not_logged(patch):
    def unlogged(self, call, harmless=False):
        return _done(cassette.Row(call, "intent", None, Usage(), 1, 0, secrets.token_hex(16), 0.0, None))

    patch.setattr(Cassette, "intend", unlogged)


@mutation(5, records.a_call_is_logged_before_it_is_sent)
def the_log_is_kept_in_memory_only(patch):
    patch.setattr(_cassette_ahead.Log, "_write", lambda self, record: None)


@mutation(5, records.an_answer_is_committed_before_it_is_used)
def readers_do_not_look_at_the_log(patch):
    patch.setattr(_cassette_overlay.Overlay, "refresh", lambda self, db: None)


@mutation(5, records.an_answer_is_committed_before_it_is_used)
def an_answer_is_used_before_its_commit(patch):
    late: list[tuple[Any, ...]] = []
    settle, close = Cassette._settle, Cassette.close

    def promised(self, row, status, reply, usage, attempts, doubtful):
        late.append((self, row, status, reply, usage, attempts, doubtful))
        return _done(msgspec.structs.replace(row, status=status, reply=reply, usage=usage, settled=0.0))

    def closed(self):
        for answer in [a for a in late if a[0] is self]:
            settle(*answer)
        late.clear()
        close(self)

    patch.setattr(Cassette, "_settle", promised)
    patch.setattr(Cassette, "close", closed)


@mutation(5, records.after_a_kill_only_calls_in_flight_are_sent_again)
def the_log_of_a_killed_run_is_thrown_away(patch):
    patch.setattr(_cassette_ahead.Logs, "adopt", lambda self: _cassette_ahead.log_path(self._path).unlink(True))


@mutation(5, records.after_a_kill_only_calls_in_flight_are_sent_again)
def answered_calls_are_sent_again(patch):
    patch.setattr(Cassette, "find", lambda self, call: None)


def _intends(patch, change):
    """A call that was in flight when its process died is intended again, with a change."""

    def changed(intend):
        def intended(self, call, harmless=False):
            own = self._own
            self._own = lambda call: change(own(call))
            try:
                return intend(self, call, harmless)
            finally:
                del self._own

        return intended

    _wrap(patch, Cassette, "intend", changed)


@mutation(5, records.after_a_kill_only_calls_in_flight_are_sent_again)
def a_call_is_sent_again_under_another_key(patch):
    _intends(patch, lambda row: row and msgspec.structs.replace(row, idempotency=secrets.token_hex(16)))


@mutation(5, records.after_a_kill_only_calls_in_flight_are_sent_again)
def a_call_that_may_be_paid_twice_is_not_counted(patch):
    _intends(patch, lambda row: row and msgspec.structs.replace(row, status="error"))


@mutation(5, records.a_run_goes_on_where_it_stood)
def a_resumed_run_plays_all_again(patch):
    patch.setattr(Reading, "done", lambda self: set())


@mutation(5, records.a_run_goes_on_where_it_stood)
def a_resumed_run_forgets_replicates(patch):
    _wrap(patch, Reading, "done", lambda done: lambda self: {(c, b, r) for c, b, _ in done(self) for r in range(3)})


@mutation(5, records.void_episodes_are_played_again)
def void_episodes_are_not_played_again(patch):
    patch.setattr(runner, "_once_more", lambda attempt: False)


@mutation(5, records.void_episodes_are_played_again)
def void_episodes_are_taken_as_done(patch):
    def all_there(self):
        return set(map(tuple, self._query("SELECT cell, block, replicate FROM episodes")))

    patch.setattr(Reading, "done", all_there)


@mutation(5, records.void_episodes_are_played_again)
def a_later_sitting_numbers_attempts_from_0(patch):
    patch.setattr(Reading, "attempts", lambda self: {})


# -- 6: counted honestly -----------------------------------------------------------------------------------------


@mutation(6, tables.every_fallback_is_in_the_table)
def a_kind_of_link_is_not_added_up(patch):
    patch.setattr(costs, "LINKS", tuple(link for link in costs.LINKS if link != "link_repeat"))


@mutation(6, tables.every_fallback_is_in_the_table)
def served_links_are_not_counted(patch):
    patch.setattr(metrics, "LINKS", "link_noop")


@mutation(6, tables.every_fallback_is_in_the_table)
def only_the_first_seat_is_added_up(patch):
    def first(made):
        def one(column, *rest):
            made(column, *rest)
            column.seats, column.agents = column.seats[:1], column.agents[:1]

        return one

    _wrap(patch, values.Column, "__init__", first)


@mutation(6, tables.every_fallback_is_in_the_table)
def a_cell_over_the_limit_is_not_flagged(patch):
    _wrap(patch, results, "costs_of", lambda costs: lambda *a: msgspec.structs.replace(costs(*a), flagged=False))


def _call(patch, decide):
    """Whether an equal request may share an answer is decided otherwise."""

    def changed(asked):
        def decided(self, call, send, bound, sampled=False, same=False):
            return asked(self, call, send, bound, sampled, decide(self, unpack(call.request), same))

        return decided

    _wrap(patch, Model, "_asked", changed)


@mutation(6, records.only_declared_and_greedy_answers_are_shared)
def answers_are_shared_though_the_model_does_not_repeat(patch):
    _call(patch, lambda model, request, same: request["temperature"] == 0)


@mutation(6, records.only_declared_and_greedy_answers_are_shared)
def sampled_answers_are_shared(patch):
    _call(patch, lambda model, request, same: model.backend.repeats)


@mutation(6, records.only_declared_and_greedy_answers_are_shared)
def nothing_is_shared(patch):
    _call(patch, lambda model, request, same: False)


@mutation(6, records.only_declared_and_greedy_answers_are_shared)
def shared_answers_are_not_counted(patch):
    _wrap(patch, Cassette, "share", lambda share: lambda *a: msgspec.structs.replace(share(*a), attempts=1))


@mutation(6, records.a_shared_answer_is_paid_once)
def a_shared_answer_is_booked_as_paid(patch):
    def paid(self, call, reply, origin=""):
        row = cassette.Row(call, "answered", reply, Usage(1, 10, 1, 500), 1, 0, secrets.token_hex(16), 0.0, 0.0)
        self._put(row)
        return row

    patch.setattr(Cassette, "share", paid)


@mutation(6, teams.clones_in_a_team_are_asked_apart)
def clones_share_a_path(patch):
    patch.setattr(Room, "_path", lambda self, member: (self.round, 0, 0))


@mutation(6, teams.clones_in_a_team_are_asked_apart)
def a_seed_forgets_the_member(patch):
    patch.setattr(Observation, "key", lambda self, *purpose: key(self._scope.key, *purpose))


# -- 7: distinct episodes ----------------------------------------------------------------------------------------


def _notes(patch, change):
    _wrap(patch, comparing, "_cell_notes", lambda notes: lambda *a: change(*notes(*a)))


@mutation(7, tables.equal_episodes_are_marked_and_get_no_interval)
def the_mark_of_equal_episodes_is_left_out(patch):
    _notes(patch, lambda marks, warnings, same: ([m for m in marks if m != tables.ALONE], warnings, False))


@mutation(7, tables.equal_episodes_are_marked_and_get_no_interval)
def the_table_forgets_the_digests(patch):
    _wrap(
        patch, results, "_stat_cell", lambda cell: lambda *a, **k: msgspec.structs.replace(cell(*a, **k), digests=None)
    )


@mutation(7, tables.a_cell_says_how_many_digests_it_holds)
def distinct_counts_episodes(patch):
    patch.setattr(comparing, "_distinct", lambda cell: len(cell.values))


@mutation(7, tables.a_cell_says_how_many_digests_it_holds)
def distinct_counts_blocks(patch):
    _wrap(patch, results, "_stat_cell", lambda cell: lambda *a, **k: _told_by_block(cell(*a, **k)))


@mutation(7, tables.a_cell_says_how_many_digests_it_holds)
def few_distinct_episodes_go_unsaid(patch):
    _notes(patch, lambda marks, warnings, same: (marks, [], same))


def _told_by_block(cell):
    return msgspec.structs.replace(cell, digests=cell.blocks)


# -- 8: controls --------------------------------------------------------------------------------------------------


def _no_role(patch, role):
    _wrap(
        patch,
        templates,
        "_role",
        lambda add: lambda study, seats, name: None if name == role else add(study, seats, name),
    )


@mutation(8, tables.every_study_has_its_controls)
def the_floor_is_not_added(patch):
    _no_role(patch, templates.FLOOR)


@mutation(8, tables.every_study_has_its_controls)
def the_ceiling_is_not_added(patch):
    _no_role(patch, templates.CEILING)


@mutation(8, tables.every_study_has_its_controls)
def the_control_without_messages_is_not_added(patch):
    _wrap(patch, templates, "_controls", lambda add: lambda study, seats, talks: add(study, seats, False))


@mutation(8, tables.every_study_has_its_controls)
def a_control_cannot_be_switched_off(patch):
    def always(add):
        def added(study, seats, talks):
            given, study.controls = study.controls, Controls()
            add(study, seats, talks)
            study.controls = given

        return added

    _wrap(patch, templates, "_controls", always)


@mutation(8, tables.the_control_without_messages_delivers_none)
def the_control_without_messages_delivers_mail(patch):
    patch.setattr(Stage, "conduct", lambda self, cell: self.study.conduct)


@mutation(8, tables.a_control_that_is_off_is_told)
def a_control_that_is_off_is_not_told(patch):
    patch.setattr(results.notes_of, "controls", lambda study: [])


@mutation(8, tables.a_control_that_is_off_is_told)
def notes_are_not_printed(patch):
    line = printed.out.line
    patch.setattr(printed.out, "line", lambda text="": None if text.startswith("note:") else line(text))


def _fit(patch, change):
    _wrap(patch, equal, "fit_of", lambda fit: lambda *a: change(fit(*a)))


@mutation(8, teams.the_equal_cost_control_spends_what_its_team_spends)
def the_control_of_a_team_is_one_sample(patch):
    _fit(patch, lambda fit: msgspec.structs.replace(fit, samples=1))


@mutation(8, teams.the_equal_cost_control_spends_what_its_team_spends)
def the_control_of_a_team_is_rounded_up(patch):
    _fit(patch, lambda fit: msgspec.structs.replace(fit, samples=fit.samples + 1))


@mutation(8, teams.the_equal_cost_control_spends_what_its_team_spends)
def the_control_of_a_team_is_sized_by_answers(patch):
    patch.setattr(equal, "_unit", lambda *a: "answers")


@mutation(8, teams.the_equal_cost_control_asks_the_best_member)
def the_control_of_a_team_asks_its_worst_member(patch):
    _fit(patch, lambda fit: msgspec.structs.replace(fit, member=min(fit.dev, key=fit.dev.get)))


@mutation(8, teams.the_equal_cost_control_asks_the_best_member)
def the_best_member_is_chosen_on_the_blocks_of_the_study(patch):
    patch.setattr(Study, "blocks_of", lambda self, spec: tuple(self.blocks))


@mutation(8, teams.every_team_has_its_controls)
def the_controls_of_a_team_are_not_added(patch):
    patch.setattr(templates, "add_team_controls", lambda study, dev: None)


@mutation(8, teams.every_team_has_its_controls)
def the_controls_of_a_team_cannot_be_switched_off(patch):
    def always(add):
        def added(study, seats, talks):
            add(study, seats, talks)
            templates.add_team_controls(study, 2)

        return added

    _wrap(patch, templates, "_controls", always)


# -- 9: statistics ------------------------------------------------------------------------------------------------


@mutation(9, tables.an_interval_has_one_degree_less_than_blocks)
def as_many_degrees_as_blocks(patch):
    _wrap(patch, intervals, "t_interval", lambda t: lambda value, se, df, *rest: t(value, se, df + 1, *rest))


@mutation(9, tables.an_interval_has_one_degree_less_than_blocks)
def the_variance_is_divided_by_n(patch):
    _wrap(patch, intervals, "_variance", lambda v: lambda x: v(x) * (x.size - 1) / x.size)


def _each(values, blocks, *what):
    """Every episode counts as a block of its own."""
    seen: dict[Any, int] = {}
    own = []
    for b in blocks:
        seen[b] = seen.get(b, -1) + 1
        own.append(f"{b} {seen[b]}")
    return block_means(values, own, *what)


@mutation(9, tables.replicates_and_seat_orders_are_one_block)
def episodes_are_not_averaged_in_the_block(patch):
    patch.setattr(comparing, "block_means", _each)


@mutation(9, tables.replicates_and_seat_orders_are_one_block)
def seat_orders_are_blocks_of_their_own(patch):
    def apart(summarise):
        def summary(cell, *rest, **more):
            half = len(cell.blocks) // 2
            split = [f"{b} {i % 2 if half > 4 else 0}" for i, b in enumerate(cell.blocks)]
            return summarise(msgspec.structs.replace(cell, blocks=split), *rest, **more)

        return summary

    _wrap(patch, results, "summarise", apart)


@mutation(9, tables.differences_are_paired_by_block)
def differences_are_not_paired(patch):
    def unpaired(cell, base, a, b, level, *rest):
        return intervals.welch(a.means, b.means, level), None

    patch.setattr(comparing, "_paired", unpaired)


@mutation(9, tables.differences_are_paired_by_block)
def the_table_does_not_pair(patch):
    _wrap(patch, results, "compare", lambda c: lambda *a, **k: c(*a, **{**k, "pairing": "unpaired"}))


@mutation(9, tables.verdicts_are_adjusted_by_holm)
def verdicts_are_not_adjusted(patch):
    patch.setattr(comparing, "holm", lambda p: p)
    patch.setattr(comparing, "step_down_levels", lambda p, level: p * 0 + level)


@mutation(9, tables.verdicts_are_adjusted_by_holm)
def intervals_are_not_adjusted(patch):
    patch.setattr(comparing, "step_down_levels", lambda p, level: p * 0 + level)


@mutation(9, tables.verdicts_are_adjusted_by_holm)
def the_adjustment_is_the_same_for_all(patch):
    patch.setattr(comparing, "holm", lambda p: (p * len(p)).clip(max=1.0))


@mutation(9, tables.the_family_is_all_comparisons_with_the_baseline)
def the_family_is_one_lineup(patch):
    def alone(compare):
        return lambda cells, *rest, **more: [c for cell in cells for c in compare([cell], *rest, **more)]

    _wrap(patch, results, "compare", alone)


@mutation(9, tables.the_family_is_all_comparisons_with_the_baseline)
def untested_comparisons_swell_the_family(patch):
    _wrap(patch, comparing, "_p_value", lambda p: lambda *a: 1.0 if p(*a) is None else p(*a))


def _margin(patch, change):
    _wrap(patch, comparing, "_verdict", lambda verdict: lambda i, margin, up: verdict(i, change(margin), up))


@mutation(9, tables.a_verdict_asks_for_the_margin)
def whatever_is_not_better_is_tied(patch):
    _margin(patch, lambda margin: float("inf"))


@mutation(9, tables.a_verdict_asks_for_the_margin)
def nothing_is_ever_tied(patch):
    _margin(patch, lambda margin: 0.0)


@mutation(9, tables.a_verdict_asks_for_the_margin)
def better_is_not_looked_at(patch):
    def only_margin(interval, margin, up):
        return "tied" if interval and interval.inside(margin) else "underpowered"

    patch.setattr(comparing, "_verdict", only_margin)


@mutation(9, tables.few_training_seeds_are_this_checkpoint)
def the_mark_of_a_checkpoint_is_dropped(patch):
    patch.setattr(comparing, "FEW_SEEDS", 0)


@mutation(9, tables.few_training_seeds_are_this_checkpoint)
def four_seeds_are_enough(patch):
    patch.setattr(comparing, "FEW_SEEDS", 4)


@mutation(9, tables.few_training_seeds_are_this_checkpoint)
def the_table_forgets_training_seeds(patch):
    _wrap(patch, results, "_stat_cell", lambda cell: lambda *a, **k: cell(*a[:3], {}, **k))


@mutation(9, tables.no_mean_is_shown_alone)
def a_mean_without_interval_has_no_mark(patch):
    _wrap(patch, intervals, "_plain", lambda plain: lambda *a: msgspec.structs.replace(plain(*a), mark=""))


@mutation(9, tables.no_mean_is_shown_alone)
def the_terminal_shows_a_mean_alone(patch):
    patch.setattr(printed, "estimate", lambda e, digits=1: f"{e.value:.{digits}f}")


@mutation(9, tables.no_mean_is_shown_alone)
def the_terminal_shows_a_difference_alone(patch):
    patch.setattr(printed, "_why", lambda marks: "")


@mutation(9, tables.no_mean_is_shown_alone)
def the_report_shows_a_mean_alone(patch):
    patch.setattr(report, "estimate_words", lambda e, digits: f"{e.value:.{digits}f}")


@mutation(9, tables.the_interquartile_mean_cuts_a_quarter_at_each_end)
def the_interquartile_mean_cuts_an_eighth(patch):
    def eighth(x, axis=None):
        x = sorted(map(float, x))
        cut = len(x) // 8
        return sum(x[cut : len(x) - cut]) / (len(x) - 2 * cut)

    patch.setattr(robust, "iqm", eighth)


@mutation(9, tables.the_interquartile_mean_cuts_a_quarter_at_each_end)
def the_interquartile_mean_of_a_cell_is_its_mean(patch):
    import numpy as np

    _wrap(patch, comparing, "bootstrap", lambda b: lambda x, **k: b(x, np.mean, **k))


@mutation(9, tables.the_interquartile_mean_cuts_a_quarter_at_each_end)
def the_interquartile_mean_is_shown_of_few_blocks(patch):
    patch.setattr(comparing, "FEW_BLOCKS", 5)


# -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def sound_runs() -> Iterator[None]:
    """The runs that properties only read are played before anything is broken."""
    played.finished()
    played.plain()
    yield


@pytest.mark.parametrize("check", [p for k in INVARIANTS for p in of_above(k)], ids=lambda p: p.__name__)
def test_invariant_above(check):
    check()


# A run folder refuses a second episode in one place, and says so itself.
SAID = dict.fromkeys(("a_later_sitting_numbers_attempts_from_0", "a_resumed_run_plays_all_again"), CrossplayError)


@pytest.mark.parametrize("broken", MUTATIONS, ids=lambda m: m.name)
def test_a_broken_mechanism_is_seen(broken, monkeypatch):
    with monkeypatch.context() as patch:
        broken.apply(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception, SAID.get(broken.name, AssertionError))):
            broken.property()


def test_every_property_has_a_mutation_that_it_sees():
    assert {p for k in INVARIANTS for p in of_above(k)} == {m.property for m in MUTATIONS}
    assert all(m.property in of_above(m.invariant) for m in MUTATIONS)
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS)


def test_the_table_in_the_documentation_is_complete():
    text = (Path(__file__).parents[2] / "docs" / "invariants.md").read_text()
    missing = [m.name for m in MUTATIONS if m.name not in text] + [
        m.property.__name__ for m in MUTATIONS if m.property.__name__ not in text
    ]
    assert not missing
