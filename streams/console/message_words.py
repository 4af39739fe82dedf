"""Why a message fails, in the language of a visitor: the language of messages speaks English. Pure.

What is said begins with the part of the message and its line: `body, line 2: 'user.size' is not known of this user`.
"""

from __future__ import annotations

import re
from typing import Final

from streams.console.language import Language
from streams.console.phrases import Phrases
from streams.console.texts_french import FRENCH

_PLACE: Final = re.compile(r"(\w+)(?:, line (\d+))?: (.+)", re.DOTALL)

_WHY: Final = Phrases({
    "{name} is not known of this user (use default, or if)": (
        "{name} n’est pas connu de cet utilisateur (utilisez default, ou if)"
    ),
    "{name} is not known of this event (use default, or if)": (
        "{name} n’est pas connu de cet événement (utilisez default, ou if)"
    ),
    "{name} is not known (use default, or if)": "{name} n’est pas connu (utilisez default, ou if)",
    "{name}, which is never known": "{name}, qui n’est jamais connu",
    "{name} has not answered with any": "{name} n’en a donné aucune",
    "a value that is none cannot be shown (use default, or if)": (
        "une valeur absente ne peut pas être affichée (utilisez default, ou if)"
    ),
    "more than {n} characters": "plus de {n} caractères",
    "more than {n} rounds of loops and filters": "plus de {n} tours de boucles et de filtres",
    "a text or list of more than {n}": "un texte ou une liste de plus de {n} éléments",
    "a number of more than 18 digits": "un nombre de plus de 18 chiffres",
    "a range of more than {n}": "une suite de plus de {n} nombres",
    "{n} is for numbers": "{n} ne vaut que pour des nombres",
    "too deep": "trop d’expressions les unes dans les autres",
    "{n} is not for messages": "{n} n’est pas permis dans un message",
    "the only call that is known is range(...)": "le seul appel permis est range(...)",
    "a list may hold constants only": "une liste ne peut contenir que des constantes",
    "tuples are not for messages; a list is written [1, 2]": "une liste s’écrit [1, 2], entre crochets",
    "unknown test {name}": "le test {name} n’existe pas",
    "unknown filter {name}; known: {names}": "le filtre {name} n’existe pas ; il y a {names}",
    "{n} takes at most {m} arguments here": "{n} prend ici au plus {m} arguments",
    "arguments of {n} are constants: numbers up to 1000, texts of up to 100 characters": (
        "les arguments de {n} sont des constantes : nombres jusqu’à 1000, textes de 100 caractères au plus"
    ),
})  # fmt: skip
_WHOLE: Final = Phrases({
    "the texts of all channels together have more than {n} bytes": (
        "Les textes de tous les canaux font ensemble plus de {n} octets"
    ),
})  # fmt: skip


def failed(language: Language, english: str) -> str:
    """In a language, without a full stop. What the engine of templates says itself stays English, and is said to be."""
    return english if language == "en" else _french(english)


def _french(english: str) -> str:
    whole = _WHOLE.french(english)
    if whole is not None:
        return whole
    match = _PLACE.fullmatch(english)
    if match is None:
        return f"{FRENCH.technical_detail} {english}"
    part, line, why = match[1], match[2], match[3]
    where = FRENCH.message_parts.get(part, "Recommandations" if part == "recommendations" else part)
    if line is not None:
        where += f", ligne\u00a0{line}"
    said = _WHY.french(why)
    return f"{where}\u00a0: {f'{FRENCH.technical_detail} {why}' if said is None else said}"
