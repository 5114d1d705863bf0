"""Scripted agents of the `qa` questions: `scholar`, and the synthetic `answerer` and `believer`.

None of them is a language model. `scholar` is the honest ceiling: it works out the answer from what
the seat is shown. `answerer` and `believer` are synthetic: they know nothing but the clues of
`qa/synthetic`, and are made so that skill, shared errors and the calibration of confidence can be set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.agents.context import options, plain, quick
from crossplay.envs.qa import arithmetic, choice, synthetic
from crossplay.kernel import Action, Agent, CrossplayError, Fault, Observation
from crossplay.kernel.seeds import uniform

__all__ = ["Answerer", "Believer", "Scholar", "answerer", "believer", "scholar", "weight"]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ANSWERS = ("answer", "improve")  # acts of team mates that are answers to the question


class Scholar(Agent):
    """Works out the answer from the text (`qa/arithmetic`, `qa/choice`) or pools all clues (`qa/synthetic`).

    The pooled clues are the most that anybody can know: the accuracy is accuracy(D, m) with D the
    pooled distance of `envs.qa.synthetic`.
    """

    name = "scholar"

    def act(self, obs: Observation) -> Action | Fault:
        """The answer with its chance of being right."""
        data = obs.view("data")
        if "clues" in data:
            chances = _untried(_pooled(data), data)
            best = max(range(len(chances)), key=chances.__getitem__)
            return _answer(obs, best, chances[best], "all clues together")
        if data["choices"]:
            place = choice.solve(data["question"], data["choices"])
            return Fault("invalid", "no question that it knows") if place is None else _answer(obs, place, 1.0, "known")
        number = arithmetic.solve(data["question"])
        return (
            Fault("invalid", "no problem that it knows")
            if number is None
            else Action(f"answer: {number}", confidence=1.0)
        )

    def check(self, env: Any, seat: str) -> None:
        """Solves the generated questions."""
        if env.name not in ("qa/synthetic", "qa/arithmetic", "qa/choice"):
            raise CrossplayError(f"scholar: solves qa/synthetic, qa/arithmetic and qa/choice, not {env.id}")


class Answerer(Agent):
    """A synthetic answerer that reads one channel's clue through noise of its own and believes the largest number.

    Clones read the same channel, so their errors correlate; the noise, of variance t^2, is drawn once per
    seat and member (it stays over rounds). With the clue's distance d and m options:

        correlation of the errors of two clones   r = 1 / (1 + t^2)
        solo accuracy                             accuracy(d sqrt(r), m)

    Give `correlation` (the skill follows), or `skill` (r = (distance(skill, m) / d)^2 follows).
    Readers of other channels share r times the environment's correlation between channels.

    Confidence: logit(confidence) = logit(1/m) + c (logit(p) - logit(1/m)) + noise, p the exact
    posterior of the answer. c = 1 is calibrated, 0 says nothing, above 1 overconfident, below 0 inverse.
    """

    def __init__(
        self, channel: int, skill: float | None, correlation: float, calibration: float, confidence_noise: float
    ) -> None:
        """The options of the factory `answerer`."""
        self.channel, self.skill, self.correlation = channel, skill, correlation
        self.calibration, self.confidence_noise = calibration, confidence_noise
        self.name = f"answerer({channel})"

    def act(self, obs: Observation) -> Action | Fault:
        """The option with the most evidence among those not tried yet; the perception goes into the memo."""
        data = obs.view("data")
        share = self._share(data)
        seen = obs.memo if obs.memo is not None else _perceived(obs, data, self.channel, share)
        chances = _untried(_chances(data, self.channel, seen, share), data)
        best = max(range(len(chances)), key=chances.__getitem__)
        noise = self.confidence_noise and self.confidence_noise * synthetic.normal(obs.key("confidence"), obs.tick)
        sure = _shifted(chances[best], len(chances), self.calibration, noise)
        return _answer(obs, best, sure, f"channel {self.channel}", memo=seen)

    def _share(self, data: Mapping[str, Any]) -> float:
        """r: the share of the error that comes from the clue."""
        if self.skill is None:
            return self.correlation
        d = data["distances"][self.channel]
        return min(1.0, (synthetic.distance(self.skill, len(data["choices"])) / d) ** 2) if d else 1.0

    def check(self, env: Any, seat: str) -> None:
        """Plays `qa/synthetic` with such a channel, and no skill above that of the clue."""
        source = _source(env, "answerer", self.channel)
        if self.skill is not None:
            most = synthetic.accuracy(source.distances[self.channel], source.m)
            if not 1 / source.m < self.skill <= most + 1e-9:
                raise CrossplayError(
                    f"answerer: skill = {self.skill:g}: the clue of channel {self.channel} allows above {1 / source.m:.3g} "
                    f"up to {most:.3g} (raise the option quality of {env.name})"
                )

    def manifest(self) -> dict[str, Any]:
        """Kind and all options."""
        return {
            "kind": self.kind,
            "name": self.name,
            "synthetic": True,
            "skill": self.skill,
            "correlation": self.correlation,
            "calibration": self.calibration,
            "confidence_noise": self.confidence_noise,
        }


class Believer(Agent):
    """A synthetic agent with a belief over the options that posts of team mates move (Polya's urn).

    The first belief is alpha = concentration * p, p the posterior by its clue. Each answer a_j that comes in
    adds w_j to alpha[a_j]. The answer is drawn from alpha / sum(alpha), so solo accuracy is E[p(y)].

    Confidence carries the weight: an answer a is posted with 1 / (1 + exp(-c (2 p(a) - 1))), and
    w_j is its odds, exp(c (2 p_j - 1)). c = 0 (vanilla): every w is 1, and with all members hearing all others
    the mean belief in any option is a martingale. c > 0 (calibrated): sure members weigh more and are right more
    often. c < 0 (anti-calibrated): the reverse. Where p is 0 or 1, w is exp(-c) or exp(+c).
    The belief behind each answer is noted: {"belief": [chance of each option]}.
    """

    def __init__(
        self, channel: int, correlation: float, concentration: float, calibration: float, sample: bool
    ) -> None:
        """The options of the factory `believer`."""
        self.channel, self.correlation, self.concentration = channel, correlation, concentration
        self.calibration, self.sample = calibration, sample
        self.name = f"believer({channel})"

    def act(self, obs: Observation) -> Action | Fault:
        """Take in the posts that were not heard before, then answer from the belief."""
        data = obs.view("data")
        memo = obs.memo if obs.memo is not None else self._start(obs, data)
        alpha, heard = list(memo["alpha"]), set(memo["heard"])
        for post in _posts(obs, len(alpha)):
            if post[0] not in heard:
                heard.add(post[0])
                alpha[post[1]] += weight(post[2])
        total = sum(alpha)
        belief = _untried([a / total for a in alpha], data)
        at = _drawn(belief, uniform(obs.key("answer"), obs.tick, memo["asked"])) if self.sample else _largest(belief)
        sure = 1 / (1 + math.exp(-self.calibration * (2 * memo["first"][at] - 1)))
        obs.note("note", {"belief": belief})
        kept = {"alpha": alpha, "heard": sorted(heard), "first": memo["first"], "asked": memo["asked"] + 1}
        return _answer(obs, at, sure, f"belief {belief[at]:.3f}", memo=kept)

    def _start(self, obs: Observation, data: Mapping[str, Any]) -> dict[str, Any]:
        seen = _perceived(obs, data, self.channel, self.correlation)
        first = _chances(data, self.channel, seen, self.correlation)
        return {"alpha": [self.concentration * p for p in first], "heard": [], "first": first, "asked": 0}

    def check(self, env: Any, seat: str) -> None:
        """Plays `qa/synthetic` with such a channel."""
        _source(env, "believer", self.channel)

    def manifest(self) -> dict[str, Any]:
        """Kind and all options."""
        return {
            "kind": self.kind,
            "name": self.name,
            "synthetic": True,
            "correlation": self.correlation,
            "concentration": self.concentration,
            "calibration": self.calibration,
            "sample": self.sample,
        }


def weight(confidence: float | None) -> float:
    """What a post weighs: the odds of its confidence, within exp(-20) .. exp(20); 1 where none was given."""
    if confidence is None:
        return 1.0
    p = min(max(confidence, 1 / (1 + math.exp(20.0))), 1 / (1 + math.exp(-20.0)))
    return p / (1 - p)


# -- reading clues -----------------------------------------------------------------------------------


def _perceived(obs: Observation, data: Mapping[str, Any], channel: int, share: float) -> list[float]:
    """The clue plus own noise of variance 1/share - 1."""
    noise = math.sqrt(1 / share - 1)
    clue = data["clues"][channel]
    if not noise:
        return list(clue)
    stream = obs.key("clue", channel)
    return [x + noise * synthetic.normal(stream, o) for o, x in enumerate(clue)]


def _chances(data: Mapping[str, Any], channel: int, seen: Sequence[float], share: float) -> list[float]:
    """Posterior of the options given what was perceived."""
    return synthetic.posterior(seen, data["distances"][channel], 1 / share, data["spread"])


def _pooled(data: Mapping[str, Any]) -> list[float]:
    """Posterior of the options given all clues: evidence d' S^-1 x[o] / D has distance D and variance 1."""
    d, rho = data["distances"], data["correlation"]
    total = synthetic.pooled_distance(d, rho)
    if total == 0:
        return [1 / len(data["choices"])] * len(data["choices"])
    pull = rho / (1 + (len(d) - 1) * rho) * sum(d)
    weights = [(x - pull) / (1 - rho) / total for x in d]
    evidence = [
        sum(w * clue[o] for w, clue in zip(weights, data["clues"], strict=True)) for o in range(len(data["choices"]))
    ]
    return synthetic.posterior(evidence, total, 1.0, data["spread"])


def _untried(chances: Sequence[float], data: Mapping[str, Any]) -> list[float]:
    """The chances with answers that were told wrong at 0, summing to 1."""
    kept = [0.0 if letter in data["wrong"] else p for letter, p in zip(_LETTERS, chances, strict=False)]
    total = sum(kept)
    return [p / total for p in kept] if total else kept


def _shifted(p: float, m: int, c: float, noise: float) -> float:
    """Confidence from a chance p: on the logit scale, c times its distance from 1/m, plus noise."""
    p = min(max(p, 1e-9), 1 - 1e-9)
    base = math.log(1 / (m - 1))
    x = base + c * (math.log(p / (1 - p)) - base) + noise
    return 1 / (1 + math.exp(-min(max(x, -30.0), 30.0)))


def _drawn(belief: Sequence[float], u: float) -> int:
    for i, p in enumerate(belief):
        u -= p
        if u < 0:
            return i
    return _largest(belief)


def _largest(belief: Sequence[float]) -> int:
    return max(range(len(belief)), key=belief.__getitem__)


# -- words between members ---------------------------------------------------------------------------


def _answer(obs: Observation, at: int, sure: float, why: str, memo: Any = None) -> Action | Fault:
    """An option as the answer that is asked for: a letter, by name or as text."""
    letter = _LETTERS[at]
    if obs.spec.kind == "text" or letter in obs.spec.names:
        said = f"{letter}, by {why}." if "rationale" in obs.wants else None
        return Action(letter, confidence=sure, rationale=said, memo=memo)
    return Fault("invalid", f"asked for {obs.spec.kind}, and can only name an option")


def _posts(obs: Observation, m: int) -> list[tuple[int, int, float | None]]:
    """(id, option, confidence) of the answers that team mates posted."""
    found = []
    for message in obs.inbox:
        body = message.body
        if message.channel != "team" or not isinstance(body, Mapping) or body.get("act") not in _ANSWERS:
            continue
        value = body.get("value")
        at = _LETTERS.find(value) if isinstance(value, str) and len(value) == 1 else value
        if isinstance(at, int) and 0 <= at < m:
            found.append((int(body["id"]), at, body.get("confidence")))
    return found


def _source(env: Any, agent: str, channel: int) -> synthetic.Synthetic:
    """The questions of a `qa/synthetic` environment that has such a channel."""
    if env.name != "qa/synthetic":
        raise CrossplayError(f"{agent}: synthetic, it plays qa/synthetic alone, not {env.id}")
    source: synthetic.Synthetic = env.source
    if channel >= len(source.distances):
        raise CrossplayError(f"{agent}: channel = {channel}: {env.id} has {len(source.distances)} channels, from 0")
    return source


_CHANNEL = {"type": "integer", "minimum": 0, "maximum": 63, "default": 0, "description": "The channel it reads."}
_CORRELATION = {
    "type": "number",
    "minimum": 0.01,
    "maximum": 1.0,
    "default": 0.85,
    "description": "Correlation of the errors of two readers of its channel; 1: no noise of its own.",
}


@options()
@plain()
@quick
def scholar(rest: str, options: Mapping[str, Any], context: Any) -> Agent:
    """The scripted expert of qa/synthetic, qa/arithmetic and qa/choice; takes no options."""
    if rest:
        raise CrossplayError(f'scholar: takes nothing after its name, got "{rest}"')
    return Scholar()


@options(
    channel=_CHANNEL,
    skill={"default": None, "description": "Accuracy alone, at median ease; sets the correlation. None: not set."},
    correlation=_CORRELATION,
    calibration={
        "type": "number",
        "minimum": -20.0,
        "maximum": 20.0,
        "default": 1.0,
        "description": "Of its confidence: 1 exact, 0 says nothing, above 1 overconfident, below 0 inverse.",
    },
    confidence_noise={
        "type": "number",
        "minimum": 0.0,
        "maximum": 20.0,
        "default": 0.0,
        "description": "Standard deviation of normal noise on the logit of its confidence.",
    },
)
@plain("words")
@quick
def answerer(rest: str, options: Mapping[str, Any], context: Any) -> Agent:
    """A synthetic answerer for qa/synthetic: `answerer`, or `answerer:3` for channel 3."""
    settled = dict(options)
    settled["channel"] = _channel("answerer", rest, settled["channel"])
    skill = settled["skill"]
    if skill is not None and (isinstance(skill, bool) or not isinstance(skill, (int, float)) or not 0 < skill < 1):
        raise CrossplayError(f"answerer: skill = {skill!r}: a share between 0 and 1")
    return Answerer(**settled)


@options(
    channel=_CHANNEL,
    correlation=_CORRELATION,
    concentration={
        "type": "number",
        "minimum": 0.01,
        "maximum": 1000.0,
        "default": 2.0,
        "description": "Weight of its first belief, in answers of others.",
    },
    calibration={
        "type": "number",
        "minimum": -20.0,
        "maximum": 20.0,
        "default": 0.0,
        "description": "c: 0 vanilla, above 0 calibrated, below 0 anti-calibrated confidence.",
    },
    sample={
        "type": "boolean",
        "default": True,
        "description": "Draw answers from the belief (false: the most likely one).",
    },
)
@plain("words")
@quick
def believer(rest: str, options: Mapping[str, Any], context: Any) -> Agent:
    """A synthetic agent with a belief that posts move, for qa/synthetic: `believer`, or `believer:3` for channel 3."""
    return Believer(**{**options, "channel": _channel("believer", rest, options["channel"])})


def _channel(agent: str, rest: str, given: int) -> int:
    if not rest:
        return given
    if not rest.isdigit() or int(rest) > 63:
        raise CrossplayError(f'{agent}: "{rest}" after the name: the number of a channel, 0 to 63')
    return int(rest)
