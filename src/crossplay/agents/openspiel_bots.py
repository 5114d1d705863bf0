"""`openspiel-bot:NAME`: OpenSpiel's own players, and a search of ours, for the games of `openspiel:`.

Each decision is made by a new bot whose generators are seeded by the seat's key and the tick, so a bot
remembers nothing, and a decision asked again is answered the same. The game is built again from `data`:
its name and, where nothing is hidden, its history; so all but `uniform_random` need perfect information.
Source of the bots: OpenSpiel (Lanctot et al. 2019, arXiv:1908.09453).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from crossplay.agents.alpha_beta import search
from crossplay.agents.connect_four import COLUMNS, position, solve
from crossplay.agents.connect_four_book import look_up
from crossplay.agents.context import Context, options, plain
from crossplay.envs.adapters.openspiel import replay
from crossplay.kernel import Agent, CrossplayError, Observation, nearest
from crossplay.kernel.fast import compiled
from crossplay.kernel.seeds import key64

__all__ = ["AlphaBeta", "Mcts", "Perfect", "Registered", "Uniform", "openspiel_bot"]

_OWN = ("uniform_random", "mcts", "alpha_beta", "perfect")
_NODES = {"alpha_beta": 50_000, "perfect": 100_000_000}  # on one core: a third of a second, and half a minute


class _Bot(Agent):
    """What all bots share: they play games of OpenSpiel alone."""

    hidden = False  # whether it plays games in which something is hidden

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self.name, self.settings = f"openspiel-bot:{name}", dict(settings)

    def manifest(self) -> dict[str, Any]:
        """Name, settings, and the version of OpenSpiel."""
        return {"kind": self.kind, "name": self.name, "settings": self.settings, "open_spiel": _version()}

    def check(self, env: Any, seat: str) -> None:
        """Games of OpenSpiel; without hidden information, unless the bot can do with it."""
        if not env.name.startswith("openspiel:"):
            raise CrossplayError(f"{self.name}: plays games of OpenSpiel, not {env.id}")
        game = _loaded(env.name.partition(":")[2], env.options)
        if not self.hidden and not _says(game, "information", "PERFECT_INFORMATION"):
            raise CrossplayError(f"{self.name}: {env.id} hides something, so the bot could not know its state")
        self.fits(game, env.id)

    def fits(self, game: Any, name: str) -> None:
        """Raise `CrossplayError` where the bot asks for more of a game than this one has."""


class Uniform(_Bot):
    """A legal move, each as likely, drawn at the address (seat key, tick); in any game of OpenSpiel."""

    kind = "random"
    hidden = True

    def act(self, obs: Observation) -> int:
        """The draw."""
        value: int = obs.spec.draw(obs.key(), obs.tick, obs.legal)
        return value


class Mcts(_Bot):
    """OpenSpiel's Monte Carlo tree search with random rollouts (Kocsis and Szepesvari 2006)."""

    def fits(self, game: Any, name: str) -> None:
        """One player after the other; rewards at the end alone."""
        if not (_says(game, "dynamics", "SEQUENTIAL") and _says(game, "reward_model", "TERMINAL")):
            raise CrossplayError(f"{self.name}: {name}: this search wants one move after the other, and pay at the end")

    def act(self, obs: Observation) -> int:
        """The move that the search visited most."""
        import pyspiel

        game, state = _rebuilt(obs)
        chosen = self.settings
        seed = key64(obs.key("openspiel-bot", obs.tick))
        evaluator = pyspiel.RandomRolloutEvaluator(chosen["rollouts"], seed & 0x7FFFFFFF)
        bot = pyspiel.MCTSBot(
            game, evaluator, float(chosen["uct"]), chosen["simulations"], chosen["memory_mb"], chosen["solve"],
            (seed >> 32) & 0x7FFFFFFF, False,
        )  # fmt: skip
        return int(bot.step(state))


class Registered(_Bot):
    """A bot that OpenSpiel has registered under a name, with its own parameters."""

    def fits(self, game: Any, name: str) -> None:
        """Whether OpenSpiel makes it for this game."""
        self._make(game, 0)

    def _make(self, game: Any, player: int) -> Any:
        import pyspiel

        try:
            return pyspiel.load_bot(self.name.partition(":")[2], game, player, self.settings["params"])
        except (pyspiel.SpielError, TypeError) as error:
            said = str(error).split("\n")[0]
            raise CrossplayError(f"{self.name}: OpenSpiel does not make it for {game}: {said}") from None

    def act(self, obs: Observation) -> int:
        """What a new bot answers in this state."""
        game, state = _rebuilt(obs)
        return int(self._make(game, int(obs.seat[1:])).step(state))


class AlphaBeta(_Bot):
    """Alpha-beta search, deeper by one ply as long as the positions last; perfect where it reaches the end.

    Counts `unproven` decisions: those whose value was not searched to the end of the game.
    """

    def fits(self, game: Any, name: str) -> None:
        """Two players, one after the other, no chance, what one wins the other loses, paid at the end."""
        wanted = (
            game.num_players() == 2 and _says(game, "dynamics", "SEQUENTIAL") and _says(game, "chance_mode", "DETERMINISTIC")
            and _says(game, "utility", "ZERO_SUM") and _says(game, "reward_model", "TERMINAL")
        )  # fmt: skip
        if not wanted:
            raise CrossplayError(
                f"{self.name}: {name}: it plays two-player zero-sum games without chance, paid at the end"
            )

    def act(self, obs: Observation) -> int:
        """One of the best moves."""
        _, state = _rebuilt(obs)
        found = search(state, self.settings["depth"], self.settings["nodes"])
        if not found.proven:
            obs.count("unproven")
        best = found.best
        return best[obs.pick(len(best))] if self.settings["ties"] == "draw" else best[0]


class Perfect(_Bot):
    """Never gives away a game that is won or drawn: tic-tac-toe, and connect four by a book and a solver.

    Counts `unproven` decisions, for which `nodes` positions did not suffice: those are `AlphaBeta`'s.
    """

    def fits(self, game: Any, name: str) -> None:
        """The two games, on their usual boards; connect four needs compiled loops."""
        if str(game) not in ("tic_tac_toe()", "connect_four()"):
            raise CrossplayError(f"{self.name}: plays openspiel:tic_tac_toe and openspiel:connect_four, not {name}")
        if str(game) == "connect_four()" and not compiled():
            raise CrossplayError(
                f"{self.name}: solving connect four needs compiled loops; pip install 'crossplay[fast]'"
            )

    def act(self, obs: Observation) -> int:
        """One of the moves that keep the outcome."""
        _, state = _rebuilt(obs)
        draws = self.settings["ties"] == "draw"
        if len(obs.spec.names) == COLUMNS:
            best, proven = self._column(state, draws)
        else:
            found = search(state, 64, self.settings["nodes"])
            best, proven = found.best, found.proven
        if not proven:
            obs.count("unproven")
        return best[obs.pick(len(best))] if draws else best[0]

    def _column(self, state: Any, all_best: bool) -> tuple[Sequence[int], bool]:
        mine, full = position(state.history())
        column = look_up(mine, full)
        if column is not None:
            return (column,), True
        solved = solve(mine, full, self.settings["nodes"], all_best=False)
        if solved.proven and solved.value < 0:  # against perfect play all lose: do not make it easy
            return search(state, 64, _NODES["alpha_beta"]).best, True
        if solved.proven and all_best:
            others = solve(mine, full, self.settings["nodes"], target=solved.value)
            solved = others if others.proven else solved
        if solved.proven:
            return solved.best, True
        best = search(state, 64, _NODES["alpha_beta"]).best
        return (min(best, key=lambda c: abs(2 * c + 1 - COLUMNS)),), False  # the middle is the better place


def _says(game: Any, what: str, value: str) -> bool:
    """Whether the type of a game has this value (they are read by name: each is an enumeration of its own)."""
    return str(getattr(game.get_type(), what)).endswith(f".{value}")


def _loaded(name: str, settings: Mapping[str, Any]) -> Any:
    import pyspiel

    return pyspiel.load_game(name, dict(settings))


@lru_cache(16)
def _game(written: str) -> Any:
    import pyspiel

    return pyspiel.load_game(written)


def _rebuilt(obs: Observation) -> tuple[Any, Any]:
    """(game, state) from what the seat knows."""
    data = obs.view("data")
    game = _game(data["game"])
    state = game.new_initial_state()
    replay(state, data["history"])
    return game, state


@lru_cache(1)
def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("open-spiel")
    except PackageNotFoundError:  # built from source
        return ""


@options(
    simulations={"type": "integer", "minimum": 1, "default": 100, "description": "mcts: rollouts of a decision"},
    rollouts={"type": "integer", "minimum": 1, "default": 1, "description": "mcts: random games per new position"},
    uct={"type": "number", "minimum": 0, "default": 2.0, "description": "mcts: weight of exploration"},
    solve={"type": "boolean", "default": True, "description": "mcts: back up proven wins and losses"},
    memory_mb={"type": "integer", "minimum": 1, "default": 256, "description": "mcts: limit of the tree"},
    depth={"type": "integer", "minimum": 1, "default": 64, "description": "alpha_beta: plies looked ahead at most"},
    nodes={
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "alpha_beta, perfect: positions of a decision; 0: 50,000 and 100,000,000",
    },
    ties={
        "type": "string",
        "enum": ["draw", "first"],
        "default": "draw",
        "description": "alpha_beta, perfect: which of equally good moves; draw: by the seat's stream of chance",
    },
    params={"type": "object", "default": {}, "description": "parameters of a bot that OpenSpiel has registered"},
)
@plain("words")
def openspiel_bot(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """A bot by name: uniform_random, mcts, alpha_beta, perfect, or one that OpenSpiel has registered."""
    from crossplay.envs.adapters._foreign import need

    pyspiel = need("pyspiel", "openspiel-bot")
    known = sorted({*_OWN, *pyspiel.registered_bots()})
    if rest not in known:
        raise CrossplayError(f'openspiel-bot: unknown bot "{rest}".{nearest(rest, known)}')
    if rest == "uniform_random":
        return Uniform(rest, {})
    if rest == "mcts":
        return Mcts(rest, {k: options[k] for k in ("simulations", "rollouts", "uct", "solve", "memory_mb")})
    if rest == "alpha_beta":
        return AlphaBeta(
            rest, {"depth": options["depth"], "ties": options["ties"], "nodes": options["nodes"] or _NODES[rest]}
        )
    if rest == "perfect":
        return Perfect(rest, {"ties": options["ties"], "nodes": options["nodes"] or _NODES[rest]})
    return Registered(rest, {"params": dict(options["params"])})
