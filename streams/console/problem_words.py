"""What the checks of definitions say, in the language of a visitor: they speak English. Pure.

Words that are not known here are shown as they are, and said to be English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from streams.console.language import Language


class Said(NamedTuple):
    """One problem in words."""

    text: str
    lang: Language | None
    """Of the text where it is not that of the visitor."""


_HINT: Final = re.compile(r"(.*); did you mean '(.*)'\?", re.DOTALL)

_FOUND: Final[dict[str, str]] = {
    "nothing": "rien",
    "no event": "aucun événement",
    "an empty list": "une liste vide",
    "an empty mapping": "rien entre les accolades",
    "a list of {n}": "une liste de {n}",
    "a mapping with {names}": "les clés {names}",
    "the unknown key {name}": "la clé inconnue {name}",
    "the name {name}": "le nom {name}",
    "the event {name}": "l’événement {name}",
    "the trait {name}": "la caractéristique {name}",
    "unknown prediction {name}": "la prédiction inconnue {name}",
    "unknown segment {name}": "le segment inconnu {name}",
    "unknown channel {name}": "le canal inconnu {name}",
    "prediction {name}, which is archived": "la prédiction archivée {name}",
    "segment {name}, which is archived": "le segment archivé {name}",
    "prediction {name} with access {access}": "la prédiction {name}, qui ne permet pas de ciblage",
    "{name}, which is the event of the conversion, too": "{name}, qui est aussi l’événement à obtenir",
    "{name} with within, but it is not listed under history": "{name} sur une période, sans historique conservé",
    "a goal with did": "un objectif où quelque chose est fait",
    "a lookback on kind event": "une période d’activité hors de l’attrition",
    "a {kind} in an audience": "une condition {kind} dans une audience",
    "{low} with edges {a} and {b}": "{low}, avec les seuils {a} et {b}",
    "{low} with a hysteresis of {h}": "{low}, avec une hystérésis de {h}",
    "a text that is no mapping": "un texte qui n’est pas une suite de clés",
}
"""English -> French, of what was found."""

_EXPECTED: Final[dict[str, str]] = {
    "a number": "un nombre",
    "a whole number": "un nombre entier",
    "a finite number": "un nombre fini",
    "text": "un texte",
    "text that is not empty": "un texte qui n’est pas vide",
    "text (in quotes: {text})": "un texte (entre guillemets : {text})",
    "text, a number, true or false": "un texte, un nombre, true ou false",
    "true or false": "true ou false",
    "a list": "une liste",
    "a mapping (key: value)": "des lignes « clé: valeur »",
    "lines such as {text}": "des lignes comme {text}",
    "the key {name}": "la clé {name}",
    "the name of an event": "le nom d’un événement",
    "an event name (* stands for all names without a column of their own)": "le nom d’un événement",
    "an event that users do: what begins with {name} is written by campaigns": (
        "un événement des utilisateurs : ceux qui commencent par {name} viennent des campagnes"
    ),
    "one of {names}": "l’un de ceux-ci : {names}",
    "each name once": "chaque nom une seule fois",
    "at least {n}": "au moins {n}",
    "at most {n} characters": "au plus {n} caractères",
    "at most {n} (found {m})": "au plus {n} (il y en a {m})",
    "at most {n} that are not archived": "au plus {n} qui ne sont pas archivés",
    "at most {n} bytes of JSON": "au plus {n} octets de JSON",
    "at most {n}": "au plus {n}",
    "more than 0 (nobody would be in the audience)": "plus de 0, sans quoi l’audience serait vide",
    "a duration such as 30s, 90m, 12h, 7d or 2w": "une durée",
    "a duration from {low} to {high}": "une durée de {low} à {high} (h : heures, d : jours)",
    "whole hours, from {low} to {high}": "un nombre entier d’heures, de {low} à {high} (h : heures, d : jours)",
    "0 < medium < high < 100 (found medium {medium}, high {high})": (
        "0 < moyenne < élevée < 100 (ici {medium} et {high})"
    ),
    "min, max or both": "un minimum, un maximum ou les deux",
    "min not above max (found min {low}, max {high})": "un minimum qui ne dépasse pas le maximum ({low} et {high})",
    "min below max (a range is min <= x < max)": "un minimum inférieur au maximum",
    "min and max from 0 to {top}": "un minimum et un maximum de 0 à {top}",
    "low, medium or high, or a list of them": "low, medium ou high, ou une liste de ces catégories",
    "exactly one of equals, in, min/max, exists beside trait": "une seule comparaison par caractéristique",
    "valid YAML": "du YAML correct",
    "a filter": "un filtre",
    "a filter: {kinds}": "un filtre",
    "a prediction that is not archived": "une prédiction qui n’est pas archivée",
    "a segment that is not archived": "un segment qui n’est pas archivé",
    "segments that do not lead back to themselves": "des segments qui ne renvoient pas à eux-mêmes",
    "a trait that input.traits maps": "une caractéristique qui figure dans input.traits",
    "{name} under history: {why}": "un événement dont l’historique est conservé (history, dans le catalogue)",
    "only did_not for a prediction of kind churn": "uniquement « ne fait pas » pour l’attrition",
    "lookback only with kind: churn": "une période d’activité seulement pour l’attrition",
    "less than {n}, or low or high could never be entered or left": (
        "moins de {n}, sans quoi on ne pourrait plus entrer dans une catégorie ou en sortir"
    ),
    "a wider range or less hysteresis, or it could never be left ({range})": (
        "une plage plus large ou moins d’hystérésis, sans quoi on n’en sortirait jamais ({range})"
    ),
    "more than {n} (or no min), or it could never be left downwards": (
        "plus de {n} (ou pas de minimum), sans quoi on n’en sortirait jamais par le bas"
    ),
    "less than {n} (or no max), or it could never be left upwards": (
        "moins de {n} (ou pas de maximum), sans quoi on n’en sortirait jamais par le haut"
    ),
    "another event, or skip_recent_goal: 0 (who has just done it is not sent to)": (
        "un autre événement, ou skip_recent_goal: 0 (qui vient de le faire ne reçoit rien)"
    ),
    "order_value beside a budget for percentages, or their cost is not known": (
        "la valeur d’une commande : sans elle, le coût d’un pourcentage est inconnu et ne peut pas avoir de budget"
    ),
    "values from 0 to 100": "des valeurs de 0 à 100",
    "values from 0": "des valeurs à partir de 0",
    "a budget of at least one offer ({cost})": "un budget qui couvre au moins une offre ({cost})",
    "one value more than edges (found {values} and {edges})": "une valeur et un score de début par palier",
    "edges that ascend, between 0 and 100": "des scores croissants, entre 0 et 100",
    "least below most (found {least} and {most})": "un minimum inférieur au maximum ({least} et {most})",
    "a step that gives at most {n} different values": "un pas qui donne au plus {n} valeurs différentes",
    "values that fall with the score (who comes anyway needs no offer)": (
        "des valeurs qui baissent quand le score monte : qui vient de toute façon n’a pas besoin d’offre"
    ),
    "values that grow with the score (churn: the higher the risk, the more is done)": (
        "des valeurs qui montent avec le score : plus le risque est élevé, plus on en fait"
    ),
    "shares that are 1 together": "des parts dont la somme fait 100 %",
    "exactly one of event, enters and leaves": "un seul fait attendu",
    "a step: wait, wait_until, split, random_split or send": "une étape : attente, répartition ou envoi",
    "steps that exist: {step} leads to {next}": "des étapes qui existent : {step} mène à {next}",
    "steps that can be reached: nothing leads to {step}": "des étapes accessibles : rien ne mène à {step}",
    "a wait on every way back: {step} leads to itself without one": (
        "une attente sur chaque retour en arrière : {step} mène à elle-même sans attente"
    ),
    "a template (docs/campaigns.md)": "un modèle de message correct",
    "starts before ends": "un début avant la fin",
    "two different times (leave quiet_hours out for none)": "deux heures différentes",
}
"""English -> French, of what was expected."""


def said(language: Language, told: Mapping[str, str]) -> Said:
    """One problem (what was `found`, and what is `expected`) in a language."""
    english = f"found {told['found']}; expected {told['expected']}"
    if language == "en":
        return Said(english, None)
    expected, hint = told["expected"], ""
    if (hinted := _HINT.fullmatch(expected)) is not None:
        expected, hint = hinted[1], f" Vouliez-vous dire «\u00a0{hinted[2]}\u00a0»\u00a0?"
    wanted = _translated("expected", expected)
    if wanted is None:
        return Said(english, "en")
    found = _translated("found", told["found"])
    if found is None and not _is_value(told["found"]):
        return Said(f"Attendu\u00a0: {wanted}.{hint}", None)
    return Said(f"Trouvé\u00a0: {found or told['found']}. Attendu\u00a0: {wanted}.{hint}", None)


def _is_value(found: str) -> bool:
    """Whether it is what somebody wrote, and so in no language."""
    return re.match(r"['\"\d-]|true$|false$", found) is not None


def _translated(table: str, english: str) -> str | None:
    for pattern, french in _patterns(table):
        if (match := pattern.fullmatch(english)) is not None:
            return french.format(**match.groupdict())
    return None


@cache
def _patterns(table: str) -> list[tuple[re.Pattern[str], str]]:
    known = _FOUND if table == "found" else _EXPECTED
    return [(_pattern(english), _spaced(french)) for english, french in known.items()]


def _pattern(english: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", english)
    return re.compile("".join(f"(?P<{p}>.+)" if n % 2 else re.escape(p) for n, p in enumerate(parts)), re.DOTALL)


def _spaced(french: str) -> str:
    """Without a break before double signs, as it is printed."""
    return re.sub(r" ([:;?!»%])(?=\s|$)", "\u00a0\\1", french).replace("« ", "«\u00a0")
