"""What keeps a form from being taken, in words of the visitor; and the words of the builder of filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from streams.api.problems import Kind, Problem
from streams.console.language import Language
from streams.console.pages import TEXTS
from streams.console.problem_words import Said, said
from streams.console.texts import Texts
from streams.console.visit import Visit

_TOLD: Final = frozenset(
    {
        Kind.INVALID_DEFINITION,
        Kind.NOT_TARGETABLE,
        Kind.CANNOT_ESTIMATE,
        Kind.HAS_DEPENDENTS,
        Kind.EXISTS,
        Kind.KEY_REUSED,
        Kind.TOO_MANY,
        Kind.OVERLOADED,
        Kind.TAKES_TOO_LONG,
    }
)
"""Problems of what somebody has written, or of the moment: the form is shown again with them."""
MOST_PLACES: Final = 5


class Named(NamedTuple):
    """Something that is wrong in one field of a form."""

    field: str
    """Its name in the form,"""
    label: str
    """and what it is called, in the language of the visitor."""
    told: str
    """What was found there, and what is expected."""
    lang: Language | None = None
    """Of what is told where it is not that of the visitor."""


class Wrong(NamedTuple):
    """What is wrong."""

    words: str
    places: list[Said]
    """What has no field here, each with its path in a catalog."""
    named: tuple[Named, ...] = ()
    """What belongs to a field, where a form knows that."""

    @property
    def fields(self) -> set[str]:
        """Names of the fields that are to be marked."""
        return {each.field for each in self.named}


Find = Callable[[Texts, Mapping[str, str]], tuple[str, str] | None]
"""Of one problem (`path`, `found`, `expected`) its field, and what that is called; None where it has none."""


def wrong_of(visit: Visit, problem: Problem) -> Wrong:
    """A problem with what somebody wrote; any other one is raised again."""
    t = TEXTS[visit.language]
    if problem.kind not in _TOLD:
        raise problem
    if problem.kind is not Kind.INVALID_DEFINITION:
        title, words = t.errors[problem.kind.slug]
        return Wrong(f"{title}. {words}", [])
    return Wrong(t.form_wrong, [_place(visit, each) for each in problem.members["problems"][:MOST_PLACES]])


def wrong_by_field(visit: Visit, problem: Problem, find: Find) -> Wrong:
    """The same, told by fields as far as `find` knows them; any other problem is raised again."""
    found = wrong_of(visit, problem)
    if problem.kind is not Kind.INVALID_DEFINITION:
        return found
    places, named = [], []
    told = problem.members["problems"][:MOST_PLACES]
    for place, each in zip(found.places, told, strict=True):
        field = find(TEXTS[visit.language], each)
        if field is None:
            places.append(place)
        else:
            named.append(Named(*field, *said(visit.language, each)))
    return Wrong(found.words, places, tuple(named))


def name_wrong(visit: Visit) -> Wrong:
    """A name that is missing or too long."""
    t = TEXTS[visit.language]
    return Wrong(t.form_wrong, [], (Named("name", t.segment_name, t.segment_name_wrong),))


def told_by_builder(wrong: Wrong) -> dict[str, Any]:
    """What the script of a builder shows beside a count that there is not."""
    named = [(f"{each.label} – {each.told}", each.lang) for each in wrong.named]
    return {"notes": [wrong.words], "places": [*named, *wrong.places]}


def builder_words(texts: Texts) -> dict[str, Any]:
    """What the script of the builder says, with plain names for categories of which nothing else is known."""
    return {**texts.builder, "categories": {each: texts.categories[f"event.{each}"] for each in _CATEGORIES}}


_CATEGORIES: Final = ("low", "medium", "high")


def _place(visit: Visit, told: Mapping[str, str]) -> Said:
    path = told["path"].removeprefix("segments.new.").removeprefix("predictions.new.")
    found = said(visit.language, told)
    colon = ": " if found.lang == "en" or visit.language == "en" else "\u00a0: "
    return found._replace(text=f"{path}{colon}{found.text}") if path else found
