"""A journey as people read it: a tree from its first step on, with how often users came to each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from config.catalog import Catalog
from config.journeys import END, Journey, RandomSplitStep, SendStep, SplitStep, WaitStep, WaitUntilStep
from streams.console.filter_words import FilterWords, Line
from streams.console.language import Format
from streams.console.numbers import shown_percent
from streams.console.segment_words import segment_name
from streams.console.texts import Texts


@dataclass(frozen=True, slots=True)
class Branch:
    """One way out of a step that has several."""

    words: str
    nodes: list[Node]


@dataclass(frozen=True, slots=True)
class Node:
    """One step, or the word that the journey ends, or where it goes on."""

    number: int | None
    """Of the step, as the form counts them; None where this only says where it goes on."""
    words: str
    detail: str
    """What it waits for, or what it sends."""
    visits: str | None
    waiting: str | None
    """Who is there now; None where nobody is."""
    branches: list[Branch]


class Counts(NamedTuple):
    """Of the users of a journey, by step."""

    visits: Mapping[str, int]
    """How often somebody came to it,"""
    waiting: Mapping[str, int]
    """and who is there now."""


def tree_of(t: Texts, f: Format, catalog: Catalog, journey: Journey, counts: Counts) -> list[Node]:
    """The steps in a row, each with the rows of its branches. What stands already is not repeated: it is named."""
    return _Drawn(t, f, catalog, journey, counts).row(next(iter(journey.steps)))


class _Drawn:
    def __init__(self, t: Texts, f: Format, catalog: Catalog, journey: Journey, counts: Counts) -> None:
        self._t, self._f, self._journey, self._counts = t, f, journey, counts
        self._numbers = {id_: n for n, id_ in enumerate(journey.steps, 1)}
        self._seen: set[str] = set()
        names = {id_: each.name for id_, each in catalog.segments.items()}
        for id_ in catalog.predictions:
            names |= {f"{id_}.{c}": segment_name(t, catalog, f"{id_}.{c}", id_) for c in ("low", "medium", "high")}
        self._filters = FilterWords(t, f, catalog.predictions, names)

    def row(self, id_: str) -> list[Node]:
        """From a step on, as long as there is one way."""
        nodes: list[Node] = []
        while id_ != END and id_ not in self._seen:
            self._seen.add(id_)
            ways = self._ways(id_)
            if len(ways) > 1:
                return [*nodes, self._node(id_, [Branch(words, self.row(way)) for words, way in ways])]
            nodes.append(self._node(id_, []))
            id_ = ways[0][1]
        words = self._t.step_end if id_ == END else f"→ {self._named(id_)}"
        return [*nodes, Node(None, words, "", None, None, [])]

    def _ways(self, id_: str) -> list[tuple[str, str]]:
        """(in which case, the next step) of each way out."""
        t, step, below = self._t, self._journey.steps[id_], self._journey.behind(id_)
        if isinstance(step, SplitStep):
            ways = [(_flat(self._filters.line(path.when)), path.then) for path in step.paths]
            return [*ways, (t.step_others, step.otherwise or below)]
        if isinstance(step, RandomSplitStep):
            shares = [self._f.percents(shown_percent(path.share, self._f.language)) for path in step.paths]
            return [(share, path.then) for share, path in zip(shares, step.paths, strict=True)]
        then = step.then or below
        otherwise = step.otherwise if isinstance(step, WaitUntilStep) else None
        if otherwise is None or otherwise == then:
            return [("", then)]
        return [(t.step_then_when, then), (t.step_then_not, otherwise)]

    def _node(self, id_: str, branches: list[Branch]) -> Node:
        t, f = self._t, self._f
        visits = f.counted(t.step_visits, self._counts.visits.get(id_, 0))
        here = self._counts.waiting.get(id_, 0)
        waiting = f.counted(t.step_waiting, here) if here else None
        return Node(self._numbers[id_], t.step_kinds[self._kind(id_)], self._detail(id_), visits, waiting, branches)

    def _named(self, id_: str) -> str:
        return self._t.step_named.format(n=self._numbers[id_], kind=self._t.step_kinds[self._kind(id_)])

    def _kind(self, id_: str) -> str:
        kinds = {
            SendStep: "send", WaitStep: "wait", WaitUntilStep: "wait_until", SplitStep: "split",
            RandomSplitStep: "random_split",
        }  # fmt: skip
        return kinds[type(self._journey.steps[id_])]

    def _detail(self, id_: str) -> str:
        t, step = self._t, self._journey.steps[id_]
        if isinstance(step, SendStep):
            parts = step.send.parts
            return parts.get("subject") or parts.get("title") or next(iter(parts.values()))
        if isinstance(step, WaitStep):
            return self._f.exact_duration(step.wait_s)
        if isinstance(step, WaitUntilStep):
            return f"{self._happens(step)} · {t.step_within.format(period=self._f.exact_duration(step.at_most_s))}"
        return ""

    def _happens(self, step: WaitUntilStep) -> str:
        until = step.until
        if until.event is not None:
            return f"{self._t.step_happens['event']} – {until.event}"
        what, id_ = ("enters", until.enters) if until.enters is not None else ("leaves", until.leaves or "")
        return f"{self._t.step_happens[what]} – {self._filters.segments.get(id_, id_)}"


def _flat(line: Line) -> str:
    """A filter in one line."""
    return f"{line.text} ({'; '.join(_flat(part) for part in line.parts)})" if line.parts else line.text
