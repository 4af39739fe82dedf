"""Marks of charts can be told from what they stand on, in the light and in the dark."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

_CSS = (ROOT / "streams" / "console" / "static" / "console.css").read_text(encoding="utf-8")
_PAIR = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
_ROOT_RULE = _CSS.partition(":root {")[2].partition("}")[0]
_CHURN_RULE = _CSS.partition(".kind-churn {")[2].partition("}")[0]
_GROUNDS = ("ground", "panel", "raised")


def pairs_of(rule: str) -> dict[str, tuple[str, str]]:
    """Name -> its colour by day and by night."""
    return {name: (day, night) for name, day, night in _PAIR.findall(rule)}


def luminance(colour: str) -> float:
    """As WCAG 2.2 defines it, from 0 to 1."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("rule", [_ROOT_RULE, _CHURN_RULE], ids=["event", "churn"])
def test_every_category_stands_out_from_the_page(rule: str, theme: int) -> None:
    grounds, marks = pairs_of(_ROOT_RULE), pairs_of(rule)
    for mark in ("low", "medium", "high"):
        for ground in _GROUNDS:
            found = contrast(marks[mark][theme], grounds[ground][theme])
            assert found >= 3.0, (mark, ground, round(found, 2))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_lines_and_texts_stand_out_from_the_page(theme: int) -> None:
    colours = pairs_of(_ROOT_RULE)
    texts = dict.fromkeys(("accent", "muted", "warn", "bad", "good"), 4.5)
    for name, least in {"strong-line": 3.0, **texts}.items():
        for ground in _GROUNDS:
            found = contrast(colours[name][theme], colours[ground][theme])
            assert found >= least, (name, ground, round(found, 2))
