"""The steps of a journey as forms have them: one below the other, each saying with which one it goes on. Pure.

The fields of step N begin with `sN_`. A form gets another step, one fewer, or the same in another order by sending
itself, so it works without scripts. What there is no field for stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from config.campaigns import MAX_PARTS
from config.durations import parse_duration
from config.journeys import END, MAX_PATHS, MAX_STEPS, Journey, SendStep
from config.written import written
from config.yaml_text import dump
from streams.api.problems import Kind, Problem
from streams.console.filter_form import data_of
from streams.console.ids import free_id
from streams.console.language import Language
from streams.console.numbers import number, share, shown_number, shown_percent
from streams.console.offer_form import OfferForm, kept_of
from streams.console.quoted import read_text, shown_text
from streams.console.spans import Span

KINDS: Final = ("send", "wait", "wait_until", "split", "random_split")
EXITS: Final = ("goal_or_leaving", "goal", "leaving", "nothing")
HAPPENS: Final = ("event", "enters", "leaves")
PATH_KINDS: Final = ("category", "score", "segment")
"""By what a path is taken; beside these a filter as text (`OTHER`)."""
OTHER: Final = "other"
"""What the form has no fields for; it stands as text."""
_DAY: Final = Span("1", "d")


@dataclass(frozen=True, slots=True)
class PathForm:
    """One path of a split, as somebody wrote it."""

    kind: str = "category"
    """One of `PATH_KINDS`, or `OTHER`."""
    prediction: str = ""
    category: str = "high"
    low: str = ""
    high: str = ""
    segment: str = ""
    text: str = ""
    """A filter, where it is another one."""
    share: str = "50"
    """Percent, of a split by chance."""
    then: str = ""


@dataclass(frozen=True, slots=True)
class StepForm:
    """One step, as somebody wrote it."""

    id: str
    kind: str
    then: str = ""
    """Id of the next step, `END`, or nothing: the one below."""
    otherwise: str = ""
    span: Span = _DAY
    """How long it waits, at most where it waits for something."""
    what: str = "event"
    event: str = ""
    segment: str = ""
    paths: tuple[PathForm, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    offer: OfferForm = field(default_factory=OfferForm)
    more: dict[str, Any] = field(default_factory=dict)
    """What there are no fields for."""

    @property
    def more_text(self) -> str:
        """The same as a hidden field carries it: JSON, in its order."""
        return json.dumps(self.more)


def steps_of_journey(journey: Journey, language: Language) -> tuple[StepForm, ...]:
    """Of one that there is."""
    found = []
    for (id_, data), step in zip(written(journey)["steps"].items(), journey.steps.values(), strict=True):
        made = _step_of(id_, data, language)
        if isinstance(step, SendStep) and step.offer is not None:
            more = {**made.more, "offer": kept_of(step.offer)}
            made = replace(made, offer=OfferForm.of_offer(step.offer, language), more=more)
        found.append(made)
    return tuple(found)


def _step_of(id_: str, given: Mapping[str, Any], language: Language) -> StepForm:
    data = dict(given)
    kind = next(each for each in KINDS if each in data)
    content = data.pop(kind)
    found = StepForm(id_, kind, data.pop("then", None) or "", data.pop("otherwise", None) or "")
    data.pop("offer", None)
    if kind == "wait":
        return replace(found, span=_span(content, language))
    if kind == "wait_until":
        what = next(each for each in HAPPENS if each in content)
        name = content.pop(what)
        places = {"event": shown_text(name)} if what == "event" else {"segment": name}
        span = _span(data.pop("at_most"), language)
        return replace(found, span=span, what=what, more={"wait_until": content}, **places)
    if kind == "send":
        offer = OfferForm(language=language)
        if not all(is_typed(text) for text in content["parts"].values()):
            return replace(found, offer=offer, more=data | {"send": content})
        parts = tuple(content.pop("parts").items())
        return replace(found, parts=parts, offer=offer, more=data | ({"send": content} if content else {}))
    return replace(found, paths=tuple(_path_of(each, language) for each in content))


def is_typed(text: str) -> bool:
    """Whether a text area gives a text back as it was: browsers send every line end as one of their own."""
    return "\r" not in text


def _span(text: str, language: Language) -> Span:
    return Span.of_s(parse_duration(text), language)


def _path_of(data: Mapping[str, Any], language: Language) -> PathForm:
    if "share" in data:
        return PathForm(share=shown_percent(data["share"], language), then=data["then"])
    when, then = data["when"], data["then"]
    if when.keys() == {"segment"}:
        return PathForm("segment", segment=when["segment"], then=then)
    if when.keys() == {"prediction", "score"}:
        ends = (when["score"].get(end) for end in ("min", "max"))
        low, high = ("" if end is None else shown_number(end, language) for end in ends)
        return PathForm("score", prediction=when["prediction"], low=low, high=high, then=then)
    if when.keys() == {"prediction", "category"} and len(when["category"]) == 1:
        return PathForm("category", prediction=when["prediction"], category=when["category"][0], then=then)
    return PathForm(OTHER, text=dump(when), then=then)


# --- what was sent ----------------------------------------------------------------------------------------------------


def steps_of(given: Mapping[str, str], language: Language) -> tuple[StepForm, ...]:
    """Out of the fields of a form. Raises `Problem` for what no form of ours sends."""
    return tuple(_sent(given, n, language) for n in range(MAX_STEPS) if given.get(f"s{n}_kind") in KINDS)


def _sent(given: Mapping[str, str], n: int, language: Language) -> StepForm:
    def text(name: str, otherwise: str = "") -> str:
        return given.get(f"s{n}_{name}", otherwise)

    return StepForm(
        id=text("id"),
        kind=text("kind"),
        then=text("then"),
        otherwise=text("otherwise"),
        span=Span.of(given, f"s{n}_span", _DAY),
        what=text("what") if text("what") in HAPPENS else HAPPENS[0],
        event=text("event").strip(),
        segment=text("segment"),
        paths=tuple(_sent_paths(given, f"s{n}_path_")),
        parts=tuple(
            (text(f"part_{p}_name"), text(f"part_{p}_text").replace("\r\n", "\n"))
            for p in range(MAX_PARTS)
            if f"s{n}_part_{p}_name" in given
        ),
        offer=OfferForm.of(given, f"s{n}_", language=language),
        more=_more(text("more", "{}")),
    )


def _more(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Problem(Kind.INVALID_BODY, "a hidden field of the form was changed") from error
    if not isinstance(found, dict):
        raise Problem(Kind.INVALID_BODY, "a hidden field of the form was changed")
    return found


def _sent_paths(given: Mapping[str, str], before: str) -> Iterator[PathForm]:
    for p in range(MAX_PATHS):
        if f"{before}{p}_then" in given:
            names = ("prediction", "category", "low", "high", "segment", "text", "share", "then")
            kind = given.get(f"{before}{p}_kind", "")
            kind = kind if kind in (*PATH_KINDS, OTHER) else PATH_KINDS[0]
            yield PathForm(kind, **{name: given.get(f"{before}{p}_{name}", "") for name in names})


# --- buttons ----------------------------------------------------------------------------------------------------------


def after(steps: tuple[StepForm, ...], action: str) -> tuple[StepForm, ...]:
    """The steps after a button; the same for one that there is not.

    `add_KIND`; `sN_up`, `sN_down`, `sN_drop`; `sN_more_path`, `sN_drop_path_P`; those of an offer (`OfferForm.after`).
    """
    kind = action.removeprefix("add_")
    if kind != action and kind in KINDS and len(steps) < MAX_STEPS:
        return (*steps, new_step(kind, steps))
    for n, step in enumerate(steps):
        own = action.removeprefix(f"s{n}_")
        if own == action:
            continue
        moves = {"up": _moved(steps, n, n - 1), "down": _moved(steps, n, n + 1), "drop": _without(steps, n)}
        if own in moves:
            return moves[own]
        changed = replace(step, offer=step.offer.after(action, f"s{n}_"), paths=_paths_after(step.paths, own))
        return (*steps[:n], changed, *steps[n + 1 :])
    return steps


def new_step(kind: str, steps: Sequence[StepForm]) -> StepForm:
    """An empty one with an id that is free."""
    found = StepForm(free_id(kind, {each.id for each in steps} | {END}), kind)
    if kind == "send":
        return replace(found, parts=(("subject", ""), ("body", "")))
    if kind == "split":
        return replace(found, paths=(PathForm(),))
    return replace(found, paths=(PathForm(), PathForm())) if kind == "random_split" else found


def _moved(steps: tuple[StepForm, ...], n: int, to: int) -> tuple[StepForm, ...]:
    if not 0 <= to < len(steps):
        return steps
    found = list(steps)
    found.insert(to, found.pop(n))
    return tuple(found)


def _without(steps: tuple[StepForm, ...], n: int) -> tuple[StepForm, ...]:
    """Whatever led to the one that goes leads to the one below it."""
    gone = steps[n].id

    def kept(name: str) -> str:
        return "" if name == gone else name

    return tuple(
        replace(
            each,
            then=kept(each.then),
            otherwise=kept(each.otherwise),
            paths=tuple(replace(path, then=kept(path.then)) for path in each.paths),
        )
        for each in (*steps[:n], *steps[n + 1 :])
    )


def _paths_after(paths: tuple[PathForm, ...], action: str) -> tuple[PathForm, ...]:
    if action == "more_path" and len(paths) < MAX_PATHS:
        return (*paths, PathForm())
    for p in range(len(paths)):
        if action == f"drop_path_{p}" and len(paths) > 1:
            return (*paths[:p], *paths[p + 1 :])
    return paths


# --- as a catalog has it ----------------------------------------------------------------------------------------------


def definition_of(steps: tuple[StepForm, ...], language: Language) -> dict[str, Any]:
    """Id -> step, not checked. Raises `Problem` for what cannot even be read."""
    ids = [*(each.id for each in steps), END]
    return {each.id: _BUILT[each.kind](each, _Way(ids[n + 1], language)) for n, each in enumerate(steps)}


class _Way(NamedTuple):
    """What a step has to know beside its fields."""

    below: str
    """Id of the step below, or `END`."""
    language: Language
    """In which its numbers are written."""


def _ways(step: StepForm) -> dict[str, Any]:
    ways = {"then": step.then, "otherwise": step.otherwise if step.kind in ("wait_until", "split") else ""}
    return {key: name for key, name in ways.items() if name and not (key == "then" and step.paths)}


def _wait(step: StepForm, way: _Way) -> dict[str, Any]:
    return {"wait": step.span.written(f"steps.{step.id}.wait", way.language), **_ways(step)}


def _wait_until(step: StepForm, way: _Way) -> dict[str, Any]:
    name = read_text(step.event) if step.what == "event" else step.segment
    kept = step.more.get("wait_until", {}) if step.what == "event" else {}
    at_most = step.span.written(f"steps.{step.id}.at_most", way.language)
    return {"wait_until": {**kept, step.what: name}, "at_most": at_most, **_ways(step)}


def _split(step: StepForm, way: _Way) -> dict[str, Any]:
    paths = [
        {"when": _when(path, f"steps.{step.id}.split[{p}]", way.language), "then": path.then or way.below}
        for p, path in enumerate(step.paths)
    ]
    return {"split": paths, **_ways(step)}


def _random_split(step: StepForm, way: _Way) -> dict[str, Any]:
    where = f"steps.{step.id}.random_split"
    shares = [share(f"{where}[{p}]", path.share, way.language) for p, path in enumerate(step.paths)]
    paths = zip(shares, step.paths, strict=True)
    return {"random_split": [{"share": each, "then": path.then or way.below} for each, path in paths]}


def _send(step: StepForm, _way: _Way) -> dict[str, Any]:
    left = {key: value for key, value in step.more.items() if key not in ("send", "offer")}
    parts = {"parts": dict(step.parts)} if step.parts else {}
    found = {**left, "send": {**step.more.get("send", {}), **parts}, **_ways(step)}
    offer = step.offer.definition(step.more.get("offer", {}), f"steps.{step.id}.offer")
    return found if offer is None else {**found, "offer": offer}


_BUILT: Final[dict[str, Callable[[StepForm, _Way], dict[str, Any]]]] = {
    "wait": _wait,
    "wait_until": _wait_until,
    "split": _split,
    "random_split": _random_split,
    "send": _send,
}


def _when(path: PathForm, where: str, language: Language) -> Any:
    match path.kind:
        case "score":
            ends = {"min": path.low, "max": path.high}
            return {
                "prediction": path.prediction,
                "score": {end: number(where, text, language) for end, text in ends.items() if text.strip()},
            }
        case "category":
            return {"prediction": path.prediction, "category": [path.category]}
        case "segment":
            return {"segment": path.segment}
        case _:
            return data_of(path.text)
