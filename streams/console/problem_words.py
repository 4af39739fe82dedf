"""What the checks of definitions say, in the language of a visitor: they speak English. Pure.

Words that are not known here are shown as they are, and said to be English.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.console.language import Language
from streams.console.message_words import failed
from streams.console.phrases import Phrases


class Said(NamedTuple):
    """One problem in words."""

    text: str
    lang: Language | None
    """Of the text where it is not that of the visitor."""


_HINT: Final = re.compile(r"(.*); did you mean '(.*)'\?", re.DOTALL)

_CHOICES: Final = re.compile(r"'[^']*'(?:, '[^']*')*(?: or '[^']*')?")
_TEMPLATE: Final = "a template (docs/campaigns.md)"
_NEVER_KNOWN: Final = ", which is never known"

_FOUND: Final = Phrases({
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
    "several lines": "plusieurs lignes",
    "a condition without a property": "une condition sans propriété",
    "a text that is no mapping": "un texte qui n’est pas une suite de clés",
    "{n} named events and room for {m} more": "{n} événements nommés et {m} places pour d’autres",
    "a filter of {n} parts (for churn with the lookback)": "un filtre de {n} conditions (période d’activité comprise)",
    "{n} did and did_not in all goals together": "{n} parties dans tous les objectifs ensemble",
    "from {low} to {high} below a not, with a hysteresis of {h}": (
        "de {low} à {high} dans une négation, avec une hystérésis de {h}"
    ),
    "{n} predictions with those of the file": "{n} prédictions avec celles du catalogue",
    "{n} segments with those of the file": "{n} segments avec ceux du catalogue",
    "{n} predictions, archived ones among them": "{n} prédictions, avec celles qui sont archivées",
    "{n} segments, archived ones among them": "{n} segments, avec ceux qui sont archivés",
    "no part {part} for the channel {name}, which sends e-mail": (
        "aucun texte {part} pour le canal {name}, qui envoie des e-mails"
    ),
    "steps that go round for ever: {names}": "des étapes qui tournent en rond sans fin : {names}",
    "the channel {name}, which is not used": "le canal {name}, qui n’est pas utilisé",
    "{name}, which is no channel of the kind webhook": "{name}, qui n’est pas un canal webhook",
})  # fmt: skip
"""English -> French, of what was found."""

_EXPECTED: Final = Phrases({
    "a number such as {example}": "un nombre comme {example}",
    "a number": "un nombre",
    "a value": "une valeur",
    "one value": "une seule valeur",
    "the name of a property": "le nom d’une propriété",
    "text in quotes, a number, true or false": "un texte entre guillemets, un nombre, true ou false",
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
    "one of {names}; did you mean {name}?; a trait is user.TRAIT": (
        "l’un de ceux-ci : {names} (peut-être {name}) ; une caractéristique s’écrit user.NOM"
    ),
    "one of {names}; a trait is user.TRAIT": "l’un de ceux-ci : {names} ; une caractéristique s’écrit user.NOM",
    "one of {names}; {name} is missing": "l’un de ceux-ci : {names} ; {name} manque",
    "one of {names}": "l’un de ceux-ci : {names}",
    "the id of one that the catalog defines (there is none)": "un identifiant défini ; il n’y en a aucun",
    "the key prediction (whose {n} it is), or one of {names}": (
        "la clé prediction, qui dit de quelle prédiction il s’agit, ou l’un de ceux-ci : {names}"
    ),
    "{name} under properties of a trigger by an event: {why}": (
        "{name} parmi les propriétés (properties) d’un déclencheur par événement : {why}"
    ),
    "the key offer beside it, or one of {names}": "une offre, ou l’un de ceux-ci : {names}",
    "an id: small letters, digits and _, a letter first, at most 63 characters": (
        "un identifiant : une lettre, puis des lettres minuscules, des chiffres et des _, 63 caractères au plus"
    ),
    "the id of a segment, or PREDICTION.low, PREDICTION.medium or PREDICTION.high": (
        "un segment, ou la catégorie d’une prédiction"
    ),
    "each name once": "chaque nom une seule fois",
    "at least {n}": "au moins {n}",
    "at most {n} characters": "au plus {n} caractères",
    "at most {n} (found {m})": "au plus {n} (il y en a {m})",
    "at most {n}; a part that several segments share can be a segment of its own": (
        "au plus {n} ; ce que plusieurs segments ont en commun peut être un segment à part"
    ),
    "at most {n}: restore one that is archived, and edit it": "au plus {n} : restaurez-en un et modifiez-le",
    "at most {n} together (limits.event_names)": "au plus {n} en tout (limits.event_names)",
    "at most {n} that are not archived": "au plus {n} qui ne sont pas archivés",
    "at most {n} bytes of JSON": "au plus {n} octets de JSON",
    "at most {n}": "au plus {n}",
    "more than {n}": "plus de {n}",
    "more than 0 (nobody would be in the audience)": "plus de 0, sans quoi l’audience serait vide",
    "a duration such as 30s, 90m, 12h, 7d or 2w": "une durée",
    "a duration from {low} to {high}": "une durée de {low} à {high} (h : heures, d : jours)",
    "a window from {low} to {high}": "une période de {low} à {high} (h : heures, d : jours)",
    "whole hours (windows up to 48h are counted in hours)": "un nombre entier d’heures (jusqu’à 48 heures)",
    "whole days (windows above 48h are counted in days)": "un nombre entier de jours (au-delà de 48 heures)",
    "a time zone such as UTC or Europe/Paris": "un fuseau horaire comme UTC ou Europe/Paris",
    "a time of day such as {name}": "une heure comme {name}",
    "a day and time such as {name}": "un jour et une heure comme {name}",
    "a time without an offset; the time zone is a key of its own": (
        "un jour et une heure sans décalage ; le fuseau horaire a son propre champ"
    ),
    "a year from {low} to {high}": "une année de {low} à {high}",
    "no `on` beside every: day": "aucun jour choisi pour un envoi quotidien",
    "days under `on`, such as [monday]": "au moins un jour de la semaine",
    "days of the month under `on`, from 1 to 28, such as [1]": "des jours du mois, de 1 à 28",
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
    "a live prediction (preview and demo cannot be used for targeting; set access: live)": (
        "une prédiction en service : un aperçu ne permet pas de ciblage"
    ),
    "traits and events only (an audience is decided before anything is predicted)": (
        "des caractéristiques et des événements seulement : l’audience est fixée avant toute prédiction"
    ),
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
    "the part {part}, under parts or by_channel": "le texte {part}, dans parts ou by_channel",
    "a way to a send, or to the end (`then: end`), from each step": (
        "depuis chaque étape, un chemin vers un envoi ou vers la fin du parcours"
    ),
    "steps that can be reached: nothing leads to {step}": "des étapes accessibles : rien ne mène à {step}",
    "a wait on every way back: {step} leads to itself without one": (
        "une attente sur chaque retour en arrière : {step} mène à elle-même sans attente"
    ),
    _TEMPLATE: "un modèle de message correct",
    "where only beside event": "where seulement avec event",
    "another id than {name} for a step: {why}": "un autre identifiant que {name}, qui termine le parcours",
    "days above 0 and up to 3650, each longer than the one before": "des nombres de jours croissants, de 1 à 3650",
    "starts before ends": "un début avant la fin",
    "two different times (leave quiet_hours out for none)": "deux heures différentes",
})  # fmt: skip
"""English -> French, of what was expected."""


def said(language: Language, told: Mapping[str, str]) -> Said:
    """One problem (what was `found`, and what is `expected`) in a language."""
    english = f"found {told['found']}; expected {told['expected']}"
    if language == "en":
        return Said(english, None)
    expected, hint = told["expected"], ""
    if (hinted := _HINT.fullmatch(expected)) is not None:
        expected, hint = hinted[1], f" Vouliez-vous dire «\u00a0{hinted[2]}\u00a0»\u00a0?"
    wanted = _EXPECTED.french(expected) or _choices(expected)
    if wanted is None:
        return Said(english, "en")
    found = _found(told["found"], expected)
    return Said(f"{found}Attendu\u00a0: {wanted}.{hint}", None)


def _found(english: str, expected: str) -> str:
    """What was found, as a sentence with a blank behind it; nothing where there are no words for it."""
    if expected == _TEMPLATE or english.endswith(_NEVER_KNOWN):
        return failed("fr", english) + ". "
    found = _FOUND.french(english)
    if found is None and not _is_value(english):
        return ""
    return f"Trouvé\u00a0: {found or english}. "


def _choices(expected: str) -> str | None:
    """Words in quotes, of which one was expected; None for anything else."""
    return expected.replace("' or '", "' ou '") if _CHOICES.fullmatch(expected) else None


def _is_value(found: str) -> bool:
    """Whether it is what somebody wrote, and so in no language."""
    return re.match(r"['\"\d-]|true$|false$", found) is not None
