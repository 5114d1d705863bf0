"""Runs inside the reference package's own interpreter: steps it, and prints states as numbers.

Usage: python kitchen_reference_driver.py step < job.json > states.jsonl
       python kitchen_reference_driver.py humans TRAIN_OR_TEST_FILE > games.jsonl

`step`: {"layout": name, "episodes": [[[a0, a1], ...], ...], "every": k}; one line per transition,
[players, counters, pots, timestep, sparse, shaped, features of every k-th step or null], after
one line [.., null, null, ..] for each start. Players are [x, y, facing, item]; counters
[x, y, item], sorted; pots [onions, tomatoes, tick] in reading order. Items: 1 onion, 2 dish,
2 + n a soup of n onions, -1 anything else.
`humans`: one line per game, [layout, [[state, actions, reward, next state], ...]], the same shapes.
It uses the standard library and the reference package (`step`) or pandas (`humans`) only.
"""

import ast
import base64
import json
import pickle
import sys
from pathlib import Path

FACINGS = {(0, -1): 0, (0, 1): 1, (1, 0): 2, (-1, 0): 3}


def item_code(kind, onions, others):
    if kind == "soup":
        return 2 + onions if others == 0 and 1 <= onions <= 3 else -1
    return {"onion": 1, "dish": 2}.get(kind, -1)


def step_job():
    import numpy as np
    from overcooked_ai_py.mdp.actions import Action
    from overcooked_ai_py.mdp.overcooked_mdp import OvercookedGridworld

    job = json.load(sys.stdin)
    world = OvercookedGridworld.from_layout_name(job["layout"])
    pots = sorted(world.get_pot_locations(), key=lambda p: (p[1], p[0]))

    def code(thing):
        if thing is None:
            return 0
        if thing.name != "soup":
            return item_code(thing.name, 0, 0)
        onions = thing.ingredients.count("onion")
        return item_code("soup", onions, len(thing.ingredients) - onions)

    def numbers(state, sparse, shaped, features):
        people = [[*p.position, FACINGS[tuple(p.orientation)], code(p.held_object)] for p in state.players]
        lying = sorted([x, y, code(o)] for (x, y), o in state.objects.items() if (x, y) not in pots)
        cooking = []
        for at in pots:
            soup = state.objects.get(at)
            inside = [] if soup is None else soup.ingredients
            tick = -1 if soup is None else soup._cooking_tick
            cooking.append([inside.count("onion"), inside.count("tomato"), tick])
        image = None
        if features:
            both = [np.asarray(a).astype(np.int8) for a in world.lossless_state_encoding(state, horizon=400)]
            image = [base64.b64encode(a.tobytes()).decode() for a in both]
        print(json.dumps([people, lying, cooking, state.timestep, sparse, shaped, image]))

    for episode in job["episodes"]:
        state = world.get_standard_start_state()
        numbers(state, None, None, False)
        for i, pair in enumerate(episode):
            joint = [Action.INDEX_TO_ACTION[a] for a in pair]
            state, infos = world.get_state_transition(state, joint)
            sparse = [float(v) for v in infos["sparse_reward_by_agent"]]
            shaped = [float(v) for v in infos["shaped_reward_by_agent"]]
            numbers(state, sparse, shaped, (i + 1) % job["every"] == 0)


class Reader(pickle.Unpickler):
    """An unpickler that knows the parts of a pandas frame and refuses everything else."""

    allowed = {
        "DataFrame", "BlockManager", "_new_Index", "Index", "Int64Index",
        "_reconstruct", "ndarray", "dtype",
    }  # fmt: skip

    def find_class(self, module, name):
        if module.split(".")[0] in ("pandas", "numpy") and name in self.allowed:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"refused: {module}.{name}")


def human_state(text, pots):
    state = ast.literal_eval(text)
    people = []
    for p in state["players"]:
        held = p.get("held_object")
        people.append([*p["position"], FACINGS[tuple(p["orientation"])], human_item(held) if held else 0])
    lying, cooking = [], {tuple(p): [0, 0, -1] for p in pots}
    things = state["objects"]
    for o in things.values() if isinstance(things, dict) else things:
        at = tuple(o["position"])
        if at in cooking:
            kind, count, time = o["state"]
            cooking[at] = [count, 0, min(time, 20) if count == 3 else -1] if kind == "onion" else [-1, count, time]
        else:
            lying.append([*at, human_item(o)])
    return [people, sorted(lying), [cooking[tuple(p)] for p in pots]]


def human_item(thing):
    if thing["name"] != "soup":
        return item_code(thing["name"], 0, 0)
    kind, count, _ = thing["state"]
    return item_code("soup", count, 0 if kind == "onion" else 1)


def humans(path):
    with Path(path).open("rb") as file:
        frame = Reader(file).load()
    for (_, name), game in frame.groupby(["workerid_num", "layout_name"], sort=True):
        rows = []
        columns = [game[c] for c in ("layout", "state", "joint_action", "reward", "next_state")]
        for layout, state, joint, reward, after in zip(*columns, strict=True):
            grid = ast.literal_eval(layout) if isinstance(layout, str) else layout
            pots = [[x, y] for y, line in enumerate(grid) for x, c in enumerate(line) if c == "P"]
            pair = [human_action(a) for a in (ast.literal_eval(joint) if isinstance(joint, str) else joint)]
            rows.append([human_state(state, pots), pair, float(reward), human_state(after, pots)])
        print(json.dumps([name, ["".join(line) for line in grid], rows]))


def human_action(action):
    if isinstance(action, str):
        return 5
    return FACINGS.get(tuple(action), 4)


if __name__ == "__main__":
    if sys.argv[1] == "step":
        step_job()
    else:
        humans(sys.argv[2])
