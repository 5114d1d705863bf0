"""`tree`: a task is split into parts, parts into parts, leaves are answered, answers flow together.

After Static-DRA (arXiv 2512.03887). Two faults of its published code are corrected here: its parts
never saw the topics taken by their siblings, and its breadth fell by two a level where its text
says that it is halved (`decay` offers both).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from crossplay.kernel import ActionSpec, CrossplayError
from crossplay.teams.protocols.common import TEXT, Settings, verdict_of
from crossplay.teams.room import Ask, Post, Room, Talk
from crossplay.teams.texts import BRIEFS
from crossplay.teams.topology import Topology, star

__all__ = ["Tree", "leaves"]


class _Node(msgspec.Struct):
    """A part of the task: its words, how deep and how broadly it may be split, the post that named it, the
    topics of the splits above it.
    """

    task: str
    depth: int
    breadth: int
    of: tuple[int, ...] = ()
    branch: tuple[str, ...] = ()


class Tree(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """depth: levels of splitting; breadth: parts of the first split; decay: how it shrinks per level
    ("halve", "minus2", "none"); most: asks at most, after which nothing is split further (counted as
    `pruned`). share: parts are compared with the topics of all branches; false: with those of their own
    branch alone, as in the published code. Siblings are asked together. Roles: splitter, worker, writer.
    """

    name: ClassVar[str] = "tree"
    parts: ClassVar[tuple[str, ...]] = ("splitter", "worker", "writer")
    aside: ClassVar[bool] = True
    depth: int = 2
    breadth: int = 3
    decay: Literal["halve", "minus2", "none"] = "halve"
    most: int = 60
    share: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 0 or self.breadth < 1 or self.most < 2:
            raise CrossplayError(
                f"tree: depth = {self.depth}, breadth = {self.breadth}, most = {self.most} are too small"
            )

    def run(self, room: Room) -> Talk:
        """Level by level: split what may be split, answer the leaves, write the answer."""
        root = _Node("the whole task", self.depth, self.breadth)
        nodes = [root]
        done: list[_Node] = []
        taken: list[str] = []
        while nodes:
            again = [n for n in nodes if n.depth > 0 and n.breadth > 0]
            done += [n for n in nodes if n not in again]
            if not again:
                break
            widest = len(room.posts) + len(again) + len(done) + sum(n.breadth for n in again) + 1
            if widest > self.most:
                room.obs.count("pruned", len(again))
                done += again
                break
            nodes = yield from self._split(room, again, done, taken)
            room.round += 1
        leaves_asked = [n for n in done if n is not root]
        seen: tuple[int, ...] = ()
        if leaves_asked:
            worker = self.who(room, "worker")
            found: list[Post] = yield [
                Ask(worker, "part", BRIEFS["part"].format(task=n.task), TEXT, told=n.of) for n in leaves_asked
            ]
            room.round += 1
            # The parts are shown with what was found about them.
            seen = (*sorted({i for n in leaves_asked for i in n.of}), *(p.id for p in found if p.ok))
        writer = self.who(room, "writer")
        [answer] = yield [Ask(writer, "answer", BRIEFS["conclude"] if seen else "", sees=seen, wants=self.wants)]
        return verdict_of(answer, "no answer", leaves=len(leaves_asked), topics=taken)

    def _split(self, room: Room, nodes: list[_Node], done: list[_Node], taken: list[str]) -> Talk:
        """Ask for the parts of these nodes together; a part that was taken already is dropped and counted."""
        asks = []
        for node in nodes:
            schema = {"type": "array", "items": {"type": "string", "maxLength": 300}, "maxItems": node.breadth}
            listed = "; ".join(taken if self.share else node.branch) or "nothing"
            brief = BRIEFS["split"].format(task=node.task, breadth=node.breadth, taken=listed)
            form = ActionSpec("data", schema=schema)
            asks.append(Ask(self.who(room, "splitter"), "split", brief, form, told=node.of))
        posts = yield asks
        below: list[_Node] = []
        for node, post in zip(nodes, posts, strict=True):
            parts: list[str] = []
            for part in post.value if post.ok else ():
                known = taken if self.share else (*node.branch, *parts)
                if part.strip().casefold() in (t.casefold() for t in known):
                    room.obs.count("parts_repeated")
                elif part.strip():
                    taken.append(part.strip())
                    parts.append(part.strip())
            if parts:
                branch = (*node.branch, *parts)
                below += [_Node(p, node.depth - 1, self.narrower(node.breadth), (post.id,), branch) for p in parts]
            else:
                done.append(node)
        return below

    def narrower(self, breadth: int) -> int:
        """The breadth one level deeper."""
        return {"halve": breadth // 2, "minus2": breadth - 2, "none": breadth}[self.decay]

    def default_topology(self, n: int) -> Topology:
        """A star: parts flow together at one member."""
        return star(n)

    def calls(self, n: int) -> int:
        """Splits, leaves and the conclusion at most, within `most`."""
        nodes, width, breadth = 0, 1, self.breadth
        for _ in range(self.depth):
            if breadth < 1:
                break
            nodes, width, breadth = nodes + width, width * breadth, self.narrower(breadth)
        return min(self.most, nodes + width + 1)


def leaves(depth: int, breadth: int, decay: Literal["halve", "minus2", "none"] = "minus2") -> int:
    """The most leaves of such a tree: 5 * 3 = 15 for depth 2, breadth 5, minus2; 5 * 2 = 10 with halve."""
    tree, width = Tree(depth=depth, breadth=breadth, decay=decay), 1
    for _ in range(depth):
        if breadth < 1:
            break
        width, breadth = width * breadth, tree.narrower(breadth)
    return width
