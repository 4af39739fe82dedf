"""Features of a model in the words of a language; `models.reasons` says which names there are."""

from __future__ import annotations

from typing import Final

from config.durations import parse_duration
from streams.console.language import Format
from streams.console.texts import Texts

_FIXED: Final = ("sessions", "age", "gap:mean", "gap:last", "recency", "recency/gap", "value:last", "value:mean")
_LONG: Final = {"age", "gap:mean", "gap:last", "recency", "recency/gap"}
_VALUES: Final = {"value:last", "value:mean"}


def feature_words(texts: Texts, form: Format, feature: str, *, high: bool) -> str:
    """What is measured, and whether there is much or little of it. A name that is not known stays as it is."""
    level = "high" if high else "low"
    if feature.startswith("trait:") and "=" in feature:
        trait, _, value = feature.removeprefix("trait:").partition("=")
        return texts.feature_trait_is[level].format(trait=trait, value=value)
    subject, kind = _subject(texts, form, feature)
    return texts.feature_level.format(subject=subject, level=texts.feature_levels[f"{kind}.{level}"])


def _subject(texts: Texts, form: Format, feature: str) -> tuple[str, str]:
    """What is measured, and the kind of words for much and little of it."""
    if feature in _FIXED:
        kind = "long" if feature in _LONG else "value" if feature in _VALUES else "many"
        return texts.features[feature], kind
    kind, _, rest = feature.partition(":")
    if kind == "count" and ":" in rest:
        name, _, half_life = rest.rpartition(":")
        period = form.duration(parse_duration(half_life))
        return texts.features["count"].format(event=_event(texts, name), period=period), "many"
    if kind == "total" and rest:
        return texts.features["total"].format(event=_event(texts, rest)), "many"
    if kind == "since" and rest:
        return texts.features["since"].format(event=_event(texts, rest)), "since"
    if kind == "value" and rest:
        return texts.features["value"].format(period=form.duration(parse_duration(rest))), "value"
    return (rest if kind == "trait" and rest else feature), "value"


def _event(texts: Texts, name: str) -> str:
    return texts.feature_other if name == "*" else texts.feature_event.format(event=name)
