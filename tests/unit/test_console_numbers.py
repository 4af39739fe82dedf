"""Numbers and texts in fields: read by the language of the page, refused where they could mean two things."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.api.problems import Problem
from streams.console.language import LANGUAGES, Language
from streams.console.numbers import number, plain_text, share, shown_number, shown_percent
from streams.console.problem_words import said
from streams.console.quoted import read_text, shown_text
from streams.console.spans import Span


@pytest.mark.parametrize(
    ("language", "text", "value"),
    [
        ("en", "10,000", 10_000),
        ("en", " 1,234,567.25 ", 1_234_567.25),
        ("en", "10 000", 10_000),
        ("en", "12.5", 12.5),
        ("en", "0.125", 0.125),
        ("en", "-3", -3),
        ("fr", "10 000", 10_000),
        ("fr", "1\u202f234\u202f567,25", 1_234_567.25),
        ("fr", "10\u00a0000", 10_000),
        ("fr", "12,5", 12.5),
        ("fr", "12.5", 12.5),
        ("fr", "1,234", 1.234),
        ("fr", "\u221212", -12),
    ],
)
def test_a_number_is_read_as_the_language_writes_it(language: Language, text: str, value: float) -> None:
    found = number("control", text, language)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "1,5"),
        ("en", "10,00"),
        ("en", "10.000"),
        ("en", "1.234,5"),
        ("en", "1 234,567"),
        ("fr", "10,000"),
        ("fr", "10.000"),
        ("fr", "1.234"),
        ("fr", "1,234,567"),
        ("fr", "1\u202f23"),
    ]
    + [
        (language, text) for language in LANGUAGES for text in ("", "ten", "1e3", "inf", "nan", "1_000", "٣", "1" * 501)
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused(language: Language, text: str) -> None:
    with pytest.raises(Problem) as refused:
        number("control", text, language)
    (told,) = refused.value.members["problems"]
    assert told["path"] == "control"
    assert said(language, told).lang is None, "in the language of the visitor"


@pytest.mark.parametrize("language", LANGUAGES)
@given(value=st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**17), 10**17)))
def test_every_number_is_read_back_as_it_is_shown(language: Language, value: float) -> None:
    shown = shown_number(value, language)
    assert number("x", shown, language) == value
    assert float(plain_text("x", shown, language)) == float(value)
    assert "e" not in shown


@pytest.mark.parametrize("language", LANGUAGES)
@given(value=st.floats(0, 1))
def test_every_share_is_read_back_as_its_percents_are_shown(language: Language, value: float) -> None:
    assert share("x", shown_percent(value, language), language) == value


def test_shares_are_shown_without_the_noise_of_a_product() -> None:
    assert [shown_percent(value, "en") for value in (0.07, 0.29, 0.1, 1.0)] == ["7", "29", "10", "100"]
    assert [shown_number(1_234_567, language) for language in LANGUAGES] == ["1,234,567", "1\u202f234\u202f567"]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_is_read_back_as_a_field_shows_it(text: str) -> None:
    shown = shown_text(text)
    assert read_text(f" {shown} ") == text
    assert "\n" not in shown
    assert "\r" not in shown


def test_quotes_that_belong_to_a_text_stay() -> None:
    assert read_text('"Yes" or "no"') == '"Yes" or "no"'
    assert read_text('"') == '"'
    assert shown_text("plain, with a comma") == "plain, with a comma"


@pytest.mark.parametrize(("seconds", "shown"), [(5_400.0, ("90", "m")), (90.0, ("90", "s")), (86_400.0, ("1", "d"))])
def test_a_length_of_time_keeps_its_unit(seconds: float, shown: tuple[str, str]) -> None:
    span = Span.of_s(seconds)
    assert (span.amount, span.unit) == shown
    assert span.unit in span.units(("h", "d"))
    assert span.written("window", "en") == "".join(shown)


def test_a_unit_that_no_form_offers_is_refused() -> None:
    with pytest.raises(Problem):
        Span.of({"window": "3", "window_unit": "y"}, "window", Span("7", "d"))
