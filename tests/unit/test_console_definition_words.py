"""What is refused of segments and predictions is told by fields, in both languages."""

from __future__ import annotations

import pytest

from streams.console.definition_wrong import prediction_field, segment_field
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
    ],
)
def test_what_the_checks_say_is_said_in_french(found: str, expected: str, words: str) -> None:
    assert said("fr", {"found": found, "expected": expected}) == Said(words, None)


def test_what_is_not_known_in_french_is_said_to_be_english() -> None:
    told = {"found": "a unicorn", "expected": "a horse"}
    assert said("fr", told) == Said("found a unicorn; expected a horse", "en")
    assert said("en", told) == Said("found a unicorn; expected a horse", None)
