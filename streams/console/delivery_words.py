"""What came of the last attempt of a delivery, in the language of a visitor: those who deliver speak English. Pure."""

from __future__ import annotations

from typing import Final

from streams.console.language import Language
from streams.console.phrases import Phrases
from streams.console.problem_words import Said
from streams.console.texts_french import FRENCH

_RESULTS: Final = Phrases({
    "answered with more than {n} bytes": "a répondu par plus de {n} octets",
    "answered {n}; redirects are not followed": "a répondu {n} ; les redirections ne sont pas suivies",
    "answered {n} {status}": "a répondu {n} {status}",
    "answered {n}": "a répondu {n}",
    "not reached in time": "n’a pas été joint à temps",
    "no answer in time": "n’a pas répondu à temps",
    "not reached ({error})": "n’a pas été joint ({error})",
    "the address was refused ({answer})": "l’adresse a été refusée ({answer})",
    "not handed in ({error})": "n’a pas pu être remis au serveur de messagerie ({error})",
})  # fmt: skip
_REFUSALS: Final = Phrases({
    "{address} is no address": "{address} n’est pas une adresse",
    "the address is not one of the public internet; {allowed}": "l’adresse n’est pas sur l’Internet public",
    "plain http is refused, write https; {allowed}": "http n’est pas accepté : l’adresse doit commencer par https",
    "expected a URL of at most {n} characters, without spaces": (
        "l’adresse doit avoir au plus {n} caractères, sans espace"
    ),
    "expected a URL such as {example}": "l’adresse doit ressembler à {example}",
    "a login in the URL would be shown with it; deliveries are signed instead": (
        "l’adresse ne doit pas contenir d’identifiants : les livraisons sont signées"
    ),
    "leave out what stands behind #: it is never sent": "ce qui suit # n’est jamais envoyé et doit être retiré",
    "write an address as four numbers from 0 to 255": "une adresse IP s’écrit en quatre nombres de 0 à 255",
})  # fmt: skip
_NOT_DONE: Final = {"not sent: ": "n’a pas été envoyé", "not published: ": "n’a pas été publié"}
"""English, before the reason -> French."""


def result_words(language: Language, english: str) -> Said:
    """In a language. What a library or the other side says itself stays English, and is said to be."""
    if language == "en" or not english:
        return Said(english, None)
    if (known := _RESULTS.french(english)) is not None:
        return Said(known, None)
    for begins, french in _NOT_DONE.items():
        if english.startswith(begins):
            why = english.removeprefix(begins)
            return Said(f"{french}\u00a0: {_REFUSALS.french(why) or f'{FRENCH.technical_detail} {why}'}", None)
    return Said(english, "en")
