"""Which field of a journey's steps a problem belongs to. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from streams.console.journey_form import StepForm
from streams.console.offer_wrong import offer_field
from streams.console.texts import Texts

_STEP: Final = re.compile(r"steps\.([a-z0-9_]+)\.?(.*)", re.DOTALL)
_PATH: Final = re.compile(r"(?:split|random_split)\[(\d+)\]")
_PART: Final = re.compile(r"send\.parts\.([a-z0-9_]+)")


def step_field(t: Texts, steps: Sequence[StepForm], path: str, expected: str) -> tuple[str, str]:
    """(name of the field, what it is called) of a problem at a path that begins with `steps`."""
    match = _STEP.match(path)
    number = next((n for n, each in enumerate(steps) if match is not None and each.id == match[1]), None)
    if match is None or number is None:
        return "steps", t.steps
    step, here = steps[number], f"s{number}_"
    label = t.step_named.format(n=number + 1, kind=t.step_kinds[step.kind])
    return here + _inner(step, match[2], expected), label


def _inner(step: StepForm, path: str, expected: str) -> str:
    if path == "offer" or path.startswith("offer."):
        return offer_field(path.removeprefix("offer").removeprefix("."), expected)[0]
    if (found := _PATH.match(path)) is not None:
        return f"path_{found[1]}"
    if (found := _PART.match(path)) is not None:
        names = [name for name, _ in step.parts]
        return f"part_{names.index(found[1])}_text" if found[1] in names else "step"
    if path in ("wait", "at_most"):
        return "span"
    return "event" if path.startswith("wait_until.") else "step"
