"""The console's two languages say the same, each in its own way of writing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date
from typing import Any

import pytest

from streams.api.problems import Kind
from streams.console.language import Format, Language, chosen
from streams.console.texts import Texts, all_texts
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH
from tests.conftest import ROOT

SAME = {"Audience", "Excellent", "Position", "Score", "Segment", "Segments", "Webhook", "long", "minutes", "webhook"}
"""Words that are the same in both."""


def named(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """(where, text) of all texts within one."""
    if isinstance(value, str):
        yield name, value
        return
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, each in items:
        yield from named(each, f"{name}.{key}")


def texts_of(texts: Texts) -> dict[str, str]:
    return {name: text for f in fields(texts) for name, text in named(getattr(texts, f.name), f.name)}


def test_both_languages_have_every_text_with_the_same_placeholders() -> None:
    english, french = texts_of(ENGLISH), texts_of(FRENCH)
    assert english.keys() == french.keys()
    for name, text in english.items():
        other = french[name]
        assert set(re.findall(r"\{\w*\}", text)) == set(re.findall(r"\{\w*\}", other)), name
        assert ("|" in text) == ("|" in other), name
        forms = [set(re.findall(r"\{\w*\}", form)) for form in other.split("|")]
        assert all(form == forms[0] for form in forms), name
        assert text.strip() == text, name
        assert text, name


def test_no_text_was_left_in_the_other_language() -> None:
    english, french = texts_of(ENGLISH), texts_of(FRENCH)
    same = {text for name, text in english.items() if french[name] == text and re.search("[a-z]{3}", text)}
    assert same - SAME == set()


def test_french_is_written_as_it_is_written() -> None:
    """No break before double signs (before `;`, `?` and `!` a narrow space) and within quotation marks, and the
    apostrophe that printers use.
    """
    for text in all_texts(FRENCH):
        assert not re.search(r"[^\u00a0\u202f:/]([:;?!»%])(?=\s|$)", text), text
        assert not re.search(r"[^\u202f][;?!](?=\s|$)", text), text
        assert not re.search(r"«[^\u00a0]", text), text
        assert "'" not in text, text


def test_every_problem_that_a_form_can_meet_has_its_words() -> None:
    """Others would be told as a mistake of the service."""
    of_requests = {"bad-request", "method-not-allowed", "timeout", "unauthorized", "unsupported-media"}
    of_requests |= {"invalid-parameters", "log-unreadable", "precondition-required"}
    assert {kind.slug for kind in Kind} - ENGLISH.errors.keys() == of_requests


def test_every_text_is_used() -> None:
    folder = ROOT / "streams" / "console"
    paths = [*folder.rglob("*.html"), *(p for p in folder.rglob("*.py") if not p.name.startswith("texts"))]
    used = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    unused = [
        f.name for f in fields(Texts) if not re.search(rf"\bt(?:exts)?\.{f.name}\b|\]\.{f.name}\b|\"{f.name}\"", used)
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("asked", "accepted", "found"),
    [
        ("fr", "en", "fr"),
        (None, "fr-CA,fr;q=0.8,en;q=0.5", "fr"),
        (None, "de,en;q=0.3,fr;q=0.7", "fr"),
        (None, "de, en-GB;q=0.9", "en"),
        (None, "fr;q=x", "fr"),
        ("de", None, "en"),
        (None, None, "en"),
    ],
)
def test_the_language_is_what_was_chosen_or_what_the_browser_prefers(
    asked: str | None, accepted: str | None, found: Language
) -> None:
    assert chosen(asked, accepted) == found


def test_numbers_dates_and_durations_are_written_as_the_language_does() -> None:
    en, fr = Format("en"), Format("fr")
    assert (en.number(1_234_567.891, 1), fr.number(1_234_567.891, 1)) == ("1,234,567.9", "1\u202f234\u202f567,9")
    assert (en.number(-0.04, 1), en.number(-12), en.number(None)) == ("0.0", "−12", "–")
    assert (en.percent(0.312), fr.percent(0.312), en.percent(0.0042)) == ("31.2%", "31,2\u00a0%", "0.42%")
    assert (en.percent(0.0), en.percent(1.0), en.percent(None)) == ("0%", "100%", "–")
    assert (en.day(date(2026, 5, 1)), fr.day(date(2026, 5, 1))) == ("1 May 2026", "1er mai 2026")
    assert fr.time("2026-05-28T20:26:40Z") == "28 mai 2026, 20:26 UTC"
    assert (len(en.months), en.months[4], fr.months[7], fr.first_day) == (12, "May", "août", "1er")
    assert (en.duration(7 * 86_400), fr.duration(36 * 3_600)) == ("7\u00a0days", "36\u00a0heures")
    assert (en.duration(86_400), fr.duration(90)) == ("1\u00a0day", "2\u00a0minutes")
    assert (en.counted("{n} user|{n} users", 0), fr.counted("{n} sortie|{n} sorties", 0)) == ("0 users", "0 sortie")
    assert (en.amount(0.44), en.amount(87.2), fr.amount(9.96)) == ("0.4", "87", "10")
