"""What is wrong with the form of a segment or a prediction, told by its fields: which it is, and what it is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from streams.console.texts import Texts

_OWN: Final = re.compile(r"(?:(?:segments|predictions)\.[^.\[]+|definition)(?:\.|$)")
"""Where a definition begins in the path of a problem."""
_ROW: Final = re.compile(r"goal\.(?:any|all)\[(\d+)\]")

_SEGMENT: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("name", "segment_name"),
    "min_dwell": ("dwell", "dwell"),
    "entry": ("entry", "entry_question"),
}
"""Key of a definition -> the field of the form, and the name of the text that stands at it."""
_PREDICTION: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("name", "segment_name"),
    "kind": ("kind", "prediction_kind"),
    "window": ("window", "window"),
    "lookback": ("lookback", "lookback"),
    "scale": ("scale", "scale"),
    "categories": ("edges", "edges"),
    "hysteresis": ("hysteresis", "hysteresis"),
    "access": ("access", "prediction_access"),
}


def segment_field(t: Texts, told: Mapping[str, str]) -> tuple[str, str] | None:
    """(name of the field, what it is called) of one problem with a segment; None where it is of something else."""
    path = _own(told["path"])
    if path in ("", "filter") or path.startswith(("filter.", "filter[")):
        return "filter", _condition(t, t.filter, path)
    return _plain(t, _SEGMENT, path)


def prediction_field(t: Texts, told: Mapping[str, str]) -> tuple[str, str] | None:
    """The same of a prediction."""
    path = _own(told["path"])
    head = re.split(r"[.\[]", path)[0]
    if head == "goal":
        row = _ROW.match(path)
        return "goal", t.goal if row is None else t.goal_row.format(n=int(row[1]) + 1)
    if head in ("audience", "filter"):
        return "filter", _condition(t, t.audience, path)
    return _plain(t, _PREDICTION, path)


def _own(path: str) -> str:
    return _OWN.sub("", path, count=1)


def _plain(t: Texts, fields: Mapping[str, tuple[str, str]], path: str) -> tuple[str, str] | None:
    found = fields.get(re.split(r"[.\[]", path)[0])
    return None if found is None else (found[0], getattr(t, found[1]))


def _condition(t: Texts, title: str, path: str) -> str:
    """Which condition it is, counted as the builder does: `Who is in it · Condition 2.1`."""
    places = [str(int(place) + 1) for place in re.findall(r"\.(?:all|any)\[(\d+)\]", path)]
    return f"{title} · {t.builder['condition_n'].format(n='.'.join(places))}" if places else title
