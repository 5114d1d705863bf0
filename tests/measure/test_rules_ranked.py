"""Rules on rankings, and what voting theory says about all rules."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure import rules_ranked as rr
from crossplay.measure.ballots import Ballots, priorities
from crossplay.measure.rulebook import make_rule

quick = settings(max_examples=80, deadline=None)
K = key("test", "ranked")

# --- references: one ballot at a time, on lists ------------------------------------------------


def lists(rankings):
    return [[o for o in row if o >= 0] for row in rankings]


def order_of_draws(m, index):
    """Options from the highest draw to the lowest: who wins a tie."""
    p = priorities(K, np.array([index]), m)[0]
    return sorted(range(m), key=lambda o: -int(p[o]))


def slow_borda(ballots, m, top=None):
    points = [0.0] * m
    for b in ballots:
        for r, o in enumerate(b):
            points[o] += max(0, (m - 1 - r) if top is None else min(top, m) - r)
    return points


def slow_irv(ballots, m, index):
    draws, left = order_of_draws(m, index), set(range(m))
    if not any(ballots):
        return -1
    while True:
        heads = [next((o for o in b if o in left), None) for b in ballots]
        votes = {o: heads.count(o) for o in left}
        if 2 * max(votes.values()) > sum(votes.values()):
            return max(votes, key=votes.get)
        fewest = min(votes.values())
        left.remove(max((o for o in left if votes[o] == fewest), key=draws.index))


def slow_above(ballots, m):
    above = [[0] * m for _ in range(m)]
    for b in ballots:
        for a, c in itertools.permutations(range(m), 2):
            if a in b and (c not in b or b.index(a) < b.index(c)):
                above[a][c] += 1
    return above


def slow_condorcet(ballots, m):
    above = slow_above(ballots, m)
    for a in range(m):
        if any(ballots) and all(above[a][b] > above[b][a] for b in range(m) if b != a):
            return a
    return -1


@hs.composite
def elections(draw, partial=True):
    m = draw(hs.integers(1, 5))
    ballots = []
    for _ in range(draw(hs.integers(1, 8))):
        ranked = draw(hs.permutations(range(m)))
        n = draw(hs.integers(0, m)) if partial else m
        ballots.append(list(ranked[:n]) + [-1] * (m - n))
    return m, ballots


@quick
@given(elections(), hs.integers(0, 10**6))
def test_ranked_rules_equal_the_references(case, index):
    m, rows = case
    ballots = lists(rows)
    for top in (None, 1, 2, 5):
        d = rr.borda(rows, m, key=K, index=index, top=top)
        points = slow_borda(ballots, m, top)
        assert d.tally.tolist() == points
        best = [o for o in order_of_draws(m, index) if points[o] == max(points)]
        assert d.winner == (best[0] if any(ballots) else -1)
    assert rr.instant_runoff(rows, m, key=K, index=index).winner == slow_irv(ballots, m, index)
    assert rr.pairwise(rows, m).tolist() == slow_above(ballots, m)
    champion = slow_condorcet(ballots, m)
    assert rr.condorcet(rows, m, key=K, index=index, fallback="undecided").winner == champion
    for fallback, rule in (("borda", rr.borda), ("irv", rr.instant_runoff)):
        d = rr.condorcet(rows, m, key=K, index=index, fallback=fallback)
        assert d.winner == (champion if champion >= 0 else rule(rows, m, key=K, index=index).winner)
        assert d.fallback == (champion < 0 and any(ballots))


def test_malformed_rankings_are_rejected():
    rows = [[0, 1, 2], [0, 0, 1], [0, -1, 1], [3, 0, 1], [-2, 0, 1], [-1, -1, -1], [2, -1, -1]]
    for rule in (rr.borda, rr.instant_runoff, rr.condorcet):
        d = rule(rows, 3, key=K)
        assert (d.valid, d.rejected) == (2, 4)
    with pytest.raises(CrossplayError, match="fallback"):
        rr.condorcet(rows, 3, key=K, fallback="x")
    with pytest.raises(CrossplayError, match="top"):
        rr.borda(rows, 3, key=K, top=0)
    with pytest.raises(CrossplayError, match="unranked"):
        rr.borda(rows, 3, key=K, unranked="x")


def test_borda_averages_what_is_not_ranked():
    d = rr.borda([[0, -1, -1], [1, 0, 2]], 3, key=K, unranked="average")
    assert d.tally.tolist() == [2 + 1, 0.5 + 2, 0.5 + 0]
    d = rr.borda([[0, -1, -1]], 3, key=K, unranked="average", top=2)
    assert d.tally.tolist() == [2, 0.5, 0.5]  # ranks give 2, 1 and 0 points


def test_tennessee():
    """The textbook election (Memphis, Nashville, Chattanooga, Knoxville): every method disagrees."""
    rows = [[0, 1, 2, 3]] * 42 + [[1, 2, 3, 0]] * 26 + [[2, 3, 1, 0]] * 15 + [[3, 2, 1, 0]] * 17
    ballots = Ballots(rankings=rows, choices=[r[0] for r in rows])
    winners = {n: int(make_rule(n)(ballots, 4, key=K).winner) for n in ("plurality", "borda", "irv", "condorcet")}
    assert winners == {"plurality": 0, "borda": 1, "irv": 3, "condorcet": 1}


def test_a_cycle_goes_to_the_fallback():
    cycle = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    d = rr.condorcet(cycle, 3, key=K)
    assert d.fallback
    assert d.tied
    assert d.tally.tolist() == [1, 1, 1]
    assert rr.condorcet(cycle, 3, key=K, fallback="undecided").winner == -1
    assert not rr.condorcet([[0, 1, 2]], 3, key=K).fallback


# --- properties of rules -----------------------------------------------------------------------

COUNTING = [
    *("plurality", "majority", "supermajority", "unanimity", "hybrid"),
    *("confidence", "best-of-n", "approval", "cumulative"),
]
RANKED = ["borda", "irv", "condorcet"]
SPECS = [*COUNTING, *RANKED, {"name": "borda", "top": 2}, {"name": "condorcet", "fallback": "copeland"}]


def cast(seed, m, e=12, v=7):
    """A batch of elections in all forms at once; some ballots absent or malformed."""
    r = generator(key("test", "cast", seed, m))
    choices = r.integers(-2, m + 1, (e, v))
    rankings = r.permuted(np.tile(np.arange(m), (e, v, 1)), axis=-1)
    rankings = np.where(np.arange(m) < r.integers(0, m + 1, (e, v, 1)), rankings, -1)
    points = r.integers(0, 4, (e, v, m)).astype(float)
    return Ballots(
        choices=choices,
        confidences=r.integers(1, 10, (e, v)) / 10,
        scores=r.integers(0, 4, (e, v)).astype(float),
        approvals=r.integers(0, 2, (e, v, m)).astype(bool),
        points=points,
        rankings=rankings,
    )


def changed(b, how):
    """The ballots with every form that there is passed through a function."""
    forms = {f: getattr(b, f) for f in b.__struct_fields__}
    return Ballots(**{f: None if x is None else how(np.asarray(x)) for f, x in forms.items()})


def renamed(b, name, m):
    """The same ballots with option o called name[o]; what is no option stays."""
    look = np.array(name)

    def through(x):
        return np.where((x >= 0) & (x < m), look[np.clip(x, 0, m - 1)], x)

    back = np.argsort(look)
    return Ballots(
        choices=through(b.choices),
        rankings=through(b.rankings),
        confidences=b.confidences,
        scores=b.scores,
        approvals=b.approvals[..., back],
        points=b.points[..., back],
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
@given(hs.integers(0, 10**6), hs.integers(1, 5), hs.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_anonymity_neutrality_and_batches(spec, seed, m, random):
    rule, b = make_rule(spec), cast(seed, m)
    d = rule(b, m, key=K, turn=6)
    order = list(range(7))
    random.shuffle(order)
    same = rule(changed(b, lambda x: x[:, order]), m, key=K, turn=6)
    assert same.winner.tolist() == d.winner.tolist()
    assert same.tally == pytest.approx(d.tally)
    assert (same.tied.tolist(), same.rejected.tolist()) == (d.tied.tolist(), d.rejected.tolist())

    name = list(range(m))
    random.shuffle(name)
    other = rule(renamed(b, name, m), m, key=K, turn=6)
    assert other.tied.tolist() == d.tied.tolist()
    for i in np.flatnonzero(~d.tied):
        assert other.winner[i] == (name[d.winner[i]] if d.winner[i] >= 0 else -1)

    for i in (0, 5, 11):
        alone = changed(b, lambda x, i=i: x[i])
        one = rule(alone, m, key=K, index=i, turn=6)
        assert one.winner == d.winner[i]
        assert one.tally == pytest.approx(d.tally[i])
    grid = changed(b, lambda x: x.reshape(3, 4, *x.shape[1:]))
    assert rule(grid, m, key=K, turn=6).winner.reshape(-1).tolist() == d.winner.tolist()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_unanimity(spec):
    m, v = 4, 5
    for o in range(m):
        ranking = [o, *(x for x in range(m) if x != o)]
        b = Ballots(
            choices=[o] * v,
            confidences=[0.9] * v,
            scores=[1.0] * v,
            approvals=np.tile(np.arange(m) == o, (v, 1)),
            points=np.tile(np.eye(m)[o], (v, 1)),
            rankings=[ranking] * v,
        )
        d = make_rule(spec)(b, m, key=K, turn=6)
        assert d.winner == o
        assert not d.tied


@quick
@given(elections(partial=False), hs.integers(0, 10**6), hs.data())
def test_raising_the_winner_keeps_it(case, index, data):
    """Monotonicity, which Borda and Condorcet (with Borda or Copeland behind it) have."""
    m, rows = case
    for rule, more in ((rr.borda, {}), (rr.condorcet, {"fallback": "borda"}), (rr.condorcet, {"fallback": "copeland"})):
        winner = int(rule(rows, m, key=K, index=index, **more).winner)
        v = data.draw(hs.integers(0, len(rows) - 1))
        at = rows[v].index(winner)
        to = data.draw(hs.integers(0, at))
        lifted = [o for o in rows[v] if o != winner]
        lifted.insert(to, winner)
        after = rule([*rows[:v], lifted, *rows[v + 1 :]], m, key=K, index=index, **more)
        assert after.winner == winner


def test_one_more_vote_keeps_the_winner():
    for seed in range(30):
        b = cast(seed, 4)
        for name in COUNTING:
            rule = make_rule(name)
            d = rule(b, 4, key=K, turn=6)
            w = d.winner[:, None]
            plus = Ballots(
                choices=np.append(b.choices, w, 1),
                confidences=np.append(b.confidences, np.full(w.shape, 0.9), 1),
                scores=np.append(b.scores, np.full(w.shape, 3.0), 1),
                approvals=np.append(b.approvals, w[..., None] == np.arange(4), 1),
                points=np.append(
                    b.points, np.where(w[..., None] == np.arange(4), 2.0, np.where(w[..., None] < 0, np.nan, 0)), 1
                ),
            )
            after = rule(plus, 4, key=K, turn=6)
            assert (after.winner == d.winner)[d.winner >= 0].all(), name


def test_instant_runoff_is_not_monotone():
    """The counterexample of the documentation: two voters lift the winner, which then loses."""
    before = [[0, 1, 2]] * 6 + [[2, 0, 1]] * 5 + [[1, 2, 0]] * 4 + [[1, 0, 2]] * 2
    after = [[0, 1, 2]] * 6 + [[2, 0, 1]] * 5 + [[1, 2, 0]] * 4 + [[0, 1, 2]] * 2
    first, second = (rr.instant_runoff(x, 3, key=K) for x in (before, after))
    assert (first.winner, first.tied) == (0, False)
    assert (second.winner, second.tied) == (2, False)


@quick
@given(elections(partial=False), hs.integers(0, 99))
def test_condorcet_takes_the_champion_and_borda_never_the_loser(case, index):
    m, rows = case
    above = np.array(slow_above(rows, m))
    beats = above > above.T
    champions = [a for a in range(m) if beats[a].sum() == m - 1]
    d = rr.condorcet(rows, m, key=K, index=index)
    if champions:
        assert [int(d.winner)] == champions
    losers = [a for a in range(m) if m > 1 and beats[:, a].sum() == m - 1]
    assert int(rr.borda(rows, m, key=K, index=index).winner) not in losers
    assert int(rr.instant_runoff(rows, m, key=K, index=index).winner) not in losers
    for fallback in ("borda", "irv"):
        assert int(rr.condorcet(rows, m, key=K, index=index, fallback=fallback).winner) not in losers


def test_a_million_rankings():
    r = generator(key("test", "million rankings"))
    rows = r.permuted(np.tile(np.arange(4, dtype=np.int16), (1_000_000, 1)), axis=-1)
    first = np.bincount(rows[:, 0], minlength=4)
    d = rr.borda(rows, 4, key=K)
    assert d.tally.sum() == 6_000_000
    assert rr.borda(rows, 4, key=K, top=1).tally.tolist() == first.tolist()
    above = rr.pairwise(rows, 4)
    assert (above + above.T)[0, 1] == 1_000_000
    assert rr.condorcet(rows, 4, key=K).valid == 1_000_000
    assert rr.instant_runoff(rows, 4, key=K).tally.max() > 250_000
