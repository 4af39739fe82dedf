"""What is refused of segments and predictions is told by fields, in both languages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from config.campaign_checks import read_campaign
from config.errors import CatalogError
from streams.console.definition_wrong import prediction_field, segment_field
from streams.console.message_words import failed
from streams.console.problem_words import Said, said
from streams.console.texts_english import ENGLISH
from streams.console.texts_french import FRENCH


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("segments.new.filter.all[1].any[0].prediction", ("filter", "Who is in it · Condition 2.1")),
        ("filter", ("filter", "Who is in it")),
        ("", ("filter", "Who is in it")),
        ("segments.new.min_dwell", ("dwell", ENGLISH.dwell)),
        ("segments.new.name", ("name", "Name")),
        ("campaigns.other.segment", None),
    ],
)
def test_a_problem_of_a_segment_has_its_field(path: str, field: tuple[str, str] | None) -> None:
    assert segment_field(ENGLISH, {"path": path}) == field


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("predictions.new.goal.any[1].did", ("goal", "Partie 2 de l’objectif")),
        ("definition.goal.event", ("goal", FRENCH.goal)),
        ("goal", ("goal", FRENCH.goal)),
        ("definition.window", ("window", FRENCH.window)),
        ("categories", ("edges", FRENCH.edges)),
        ("predictions.new.audience.all[0].trait", ("filter", f"{FRENCH.audience} · Condition n°\u00a01")),
        ("predictions", None),
    ],
)
def test_a_problem_of_a_prediction_has_its_field(path: str, field: tuple[str, str] | None) -> None:
    assert prediction_field(FRENCH, {"path": path}) == field


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        ("nothing", "a number", "Trouvé\u00a0: rien. Attendu\u00a0: un nombre."),
        ("'much'", "a number", "Trouvé\u00a0: 'much'. Attendu\u00a0: un nombre."),
        ("while parsing a flow node", "valid YAML", "Attendu\u00a0: du YAML correct."),
        ("25", "at most 20", "Trouvé\u00a0: 25. Attendu\u00a0: au plus 20."),
        (
            "unknown segment 'kene'",
            "one of keen, busy; did you mean 'keen'?",
            (
                "Trouvé\u00a0: le segment inconnu 'kene'. Attendu\u00a0: l’un de ceux-ci\u00a0: keen, busy. "
                "Vouliez-vous dire «\u00a0keen\u00a0»\u00a0?"
            ),
        ),
        (
            "a list of 3",
            "one value more than edges (found 3 and 1)",
            "Trouvé\u00a0: une liste de 3. Attendu\u00a0: une valeur et un score de début par palier.",
        ),
        (
            "no part 'subject' for the channel 'mail', which sends e-mail",
            "the part 'subject', under parts or by_channel",
            (
                "Trouvé\u00a0: aucun texte 'subject' pour le canal 'mail', qui envoie des e-mails. "
                "Attendu\u00a0: le texte 'subject', dans parts ou by_channel."
            ),
        ),
        (
            "steps that go round for ever: 'a', 'b'",
            "a way to a send, or to the end (`then: end`), from each step",
            (
                "Trouvé\u00a0: des étapes qui tournent en rond sans fin\u00a0: 'a', 'b'. "
                "Attendu\u00a0: depuis chaque étape, un chemin vers un envoi ou vers la fin du parcours."
            ),
        ),
    ],
)
def test_what_the_checks_say_is_said_in_french(found: str, expected: str, words: str) -> None:
    assert said("fr", {"found": found, "expected": expected}) == Said(words, None)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("a time zone such as UTC or Europe/Paris", "un fuseau horaire comme UTC ou Europe/Paris"),
        ("days of the month under `on`, from 1 to 28, such as [1]", "des jours du mois, de 1 à 28"),
        ("more than 0.5", "plus de 0.5"),
        ("'once' or 'always'", "'once' ou 'always'"),
        (
            "at most 20; a part that several segments share can be a segment of its own",
            "au plus 20\u00a0; ce que plusieurs segments ont en commun peut être un segment à part",
        ),
        ("one of at, every; 'at' is missing", "l’un de ceux-ci\u00a0: at, every\u00a0; 'at' manque"),
    ],
)
def test_of_what_was_expected_nothing_is_left_in_english(expected: str, words: str) -> None:
    assert said("fr", {"found": "nothing", "expected": expected}).text == f"Trouvé\u00a0: rien. Attendu\u00a0: {words}."


WRONG: list[dict[str, Any]] = [
    {"trigger": {"at": "soon"}},
    {"trigger": {"at": "2027-03-01T10:00:00+02:00"}},
    {"trigger": {"at": "1901-03-01 10:00"}},
    {"trigger": {"at": "2027-03-01 10:00", "timezone": "Paris"}},
    {"trigger": {"every": "day", "at": "25:00"}},
    {"trigger": {"every": "day", "at": "10:00", "on": ["monday"]}},
    {"trigger": {"every": "week", "at": "10:00"}},
    {"trigger": {"every": "month", "at": "10:00", "on": [31]}},
    {"trigger": {"every": "year", "at": "10:00"}},
    {"trigger": {"event": ""}},
    {"segment": ""},
    {"channels": []},
    {"control": 2},
    {"reentry": "soon"},
    {"conversion": {"event": "Order", "window": "1s"}},
    {"offer": {"unit": "percent", "value": 200}},
    {"message": {"parts": {}}},
    {"message": {"parts": {"body": ""}}},
    {"rate": {"per": "day"}},
    {"filter": {"trait": "country", "equals": "A", "in": ["B"]}},
    {"filter": {"event": "View", "count": {"min": 1}, "within": "50h"}},
]


@pytest.mark.parametrize("wrong", WRONG, ids=json.dumps)
def test_what_the_form_of_a_campaign_can_get_wrong_is_said_in_french(wrong: dict[str, Any]) -> None:
    right = {"name": "Mine", "segment": "keen", "channels": ["log"], "conversion": {"event": "Order"}}
    right |= {"message": {"parts": {"body": "Hello"}}}
    read_campaign("mine", right)
    with pytest.raises(CatalogError) as refused:
        read_campaign("mine", right | wrong)
    for each in refused.value.problems:
        told = said("fr", {"found": each.found, "expected": each.expected})
        assert told.lang is None, told


@pytest.mark.parametrize(
    ("english", "french"),
    [
        (
            "body, line 2: 'user.size' is not known of this user (use default, or if)",
            "Texte, ligne\u00a02\u00a0: 'user.size' n’est pas connu de cet utilisateur (utilisez default, ou if)",
        ),
        ("subject: too deep", "Objet\u00a0: trop d’expressions les unes dans les autres"),
        ("recommendations: 'shelf' has not answered with any", "Recommandations\u00a0: 'shelf' n’en a donné aucune"),
        ("sms, line 1: unexpected '}'", "sms, ligne\u00a01\u00a0: Détail technique, en anglais\u00a0: unexpected '}'"),
        (
            "the texts of all channels together have more than 65,536 bytes",
            "Les textes de tous les canaux font ensemble plus de 65\u202f536 octets",
        ),
    ],
)
def test_why_a_message_fails_is_said_in_french(english: str, french: str) -> None:
    assert (failed("fr", english), failed("en", english)) == (french, english)


def test_what_is_wrong_in_a_template_is_told_with_its_line() -> None:
    expected = "one of size, name; did you mean 'size'?; a trait is user.TRAIT"
    told = {"found": "body, line 3: 'siez', which is never known", "expected": expected}
    found = "Texte, ligne\u00a03\u00a0: 'siez', qui n’est jamais connu."
    wanted = "l’un de ceux-ci\u00a0: size, name (peut-être 'size')\u00a0; une caractéristique s’écrit user.NOM"
    assert said("fr", told) == Said(f"{found} Attendu\u00a0: {wanted}.", None)


def test_what_is_not_known_in_french_is_said_to_be_english() -> None:
    told = {"found": "a unicorn", "expected": "a horse"}
    assert said("fr", told) == Said("found a unicorn; expected a horse", "en")
    assert said("en", told) == Said("found a unicorn; expected a horse", None)
