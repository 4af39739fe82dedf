"""Every text of the console, by name; each language has one of these, and mypy sees to it that none is missing.

Texts with a count have two forms, `{n} user|{n} users`. Placeholders are the same in every language (a test). Names of
predictions, segments and events are what their authors wrote, and are not translated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

Words = Mapping[str, str]
Told = Mapping[str, tuple[str, str]]
"""Of errors, by the end of their problem's type: what has happened, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """One language."""

    # the frame
    skip: str
    navigation: str
    nav_predictions: str
    language: str
    theme: str
    themes: Words
    signed_in_as: str
    roles: Words
    sign_out: str
    errors: Told
    error_back: str
    error_request: str
    loading: str
    not_loaded: str

    # signing in
    sign_in: str
    sign_in_lead: str
    sign_in_key: str
    sign_in_hint: str
    sign_in_how: str
    sign_in_wrong: Words

    # words of predictions
    kinds: Words
    category_titles: Words
    categories: Words
    """By kind and category: `event.high`."""
    statuses: Words
    status_help: Words
    accesses: Words
    access_help: Words
    bands: Words
    quality: str
    quality_unknown: str
    users: str

    # the list of predictions
    predictions: str
    predictions_lead: str
    predictions_none: str
    predictions_none_how: str
    audience: str
    expected_within: Words
    today: str
    entered_today: str
    left_today: str
    today_at_least: str
    today_unknown: str
    learning_progress: str
    learning_failed: str
    warm_up_progress: str
    warm_up_expected: str
    warm_up_no_date: str
    warm_up_beats: str


def all_texts(texts: Texts) -> Iterator[str]:
    """Every text of a language, also those within others."""
    for field in fields(texts):
        yield from _within(getattr(texts, field.name))


def _within(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    else:
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _within(each)
