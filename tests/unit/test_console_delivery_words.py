"""What came of a delivery is told in the language of who looks."""

from __future__ import annotations

import pytest

from streams.console.delivery_words import result_words
from streams.console.problem_words import Said
from streams.console.texts_french import FRENCH
from streams.runtime.deliveries.addresses import AddressRefused, check_address, check_url


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("answered 500", "a répondu 500"),
        ("answered 302; redirects are not followed", "a répondu 302\u00a0; les redirections ne sont pas suivies"),
        ("answered 550 5.1.1", "a répondu 550 5.1.1"),
        ("answered with more than 65,536 bytes", "a répondu par plus de 65\u202f536 octets"),
        ("not reached in time", "n’a pas été joint à temps"),
        ("no answer in time", "n’a pas répondu à temps"),
        ("not reached (ClientConnectorError)", "n’a pas été joint (ClientConnectorError)"),
        ("the address was refused (550 5.1.1)", "l’adresse a été refusée (550 5.1.1)"),
        (
            "not handed in (SMTPServerDisconnected)",
            "n’a pas pu être remis au serveur de messagerie (SMTPServerDisconnected)",
        ),
    ],
)
def test_a_result_is_french_on_french_pages_and_as_it_was_on_english_ones(english: str, french: str) -> None:
    assert result_words("fr", english) == Said(french, None)
    assert result_words("en", english) == Said(english, None)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/" + "a" * 3_000,
        "http://example.org",
        "nothing",
        "https://ann:secret@example.org",
        "https://example.org/#part",
        "https://127.0.0.1/hook",
        "https://1.2.3.4.5.6",
    ],
)
def test_every_refusal_of_an_address_is_said_in_french(url: str) -> None:
    with pytest.raises(AddressRefused) as refused:
        check_url(url, allow_private=False)
    said = result_words("fr", f"not sent: {refused.value}")
    assert said.lang is None
    assert said.text.startswith("n’a pas été envoyé\u00a0: ")
    assert FRENCH.technical_detail not in said.text


def test_what_is_no_address_is_said_in_french_too() -> None:
    with pytest.raises(AddressRefused) as refused:
        check_address("here", allow_private=False)
    words = result_words("fr", f"not sent: {refused.value}").text
    assert words == "n’a pas été envoyé\u00a0: 'here' n’est pas une adresse"


def test_what_others_have_said_stays_as_it_is_and_is_marked() -> None:
    assert result_words("fr", "gone fishing") == Said("gone fishing", "en")
    detail = f"n’a pas été publié\u00a0: {FRENCH.technical_detail} MessageSizeTooLargeError"
    assert result_words("fr", "not published: MessageSizeTooLargeError") == Said(detail, None)
    assert result_words("fr", "") == Said("", None)
