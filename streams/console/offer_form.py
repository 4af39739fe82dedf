"""Offers as forms have them: nothing, the same for everybody, a ladder over the score, or a sliding scale. Pure.

The fields of one offer begin with a prefix, as the steps of a journey have one each. A form gets another step of a
ladder, or one fewer, by sending itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from config.offers import MAX_RUNGS, FixedOffer, LadderOffer, LinearOffer, Offer
from config.written import written
from streams.api.problems import Problem
from streams.console.language import Language
from streams.console.numbers import number, shown_number

OFFERS: Final = ("none", "fixed", "ladder", "linear")
UNITS: Final = ("percent", "amount")
PERIODS: Final = ("total", "month", "day")
OFFER_KEYS: Final = frozenset(
    {"unit", "value", "prediction", "edges", "values", "order_value", "budget", "least", "most", "step"}
)
"""Of an offer, what there are fields for."""
_READ: Final[TypeAdapter[FixedOffer | LadderOffer | LinearOffer]] = TypeAdapter(Offer)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a ladder: from this score on, this much; as somebody wrote it."""

    edge: str = ""
    """Of the lowest step nothing: it begins at 0."""
    value: str = ""


@dataclass(frozen=True, slots=True)
class OfferForm:
    """What stands in the fields, as somebody wrote it."""

    kind: str = "none"
    """One of `OFFERS`."""
    unit: str = "percent"
    order_value: str = ""
    budget: str = ""
    budget_per: str = "total"
    value: str = ""
    prediction: str = ""
    steps: tuple[Step, ...] = (Step(), Step())
    least: str = "0"
    most: str = ""
    step: str = "5"
    language: Language = "en"
    """In which the numbers are written."""

    @classmethod
    def of(cls, given: Mapping[str, str], prefix: str = "", *, language: Language) -> OfferForm:
        """As it was sent."""
        new = cls()

        def text(name: str, otherwise: str = "") -> str:
            return given.get(prefix + name, otherwise)

        def one_of(name: str, known: tuple[str, ...]) -> str:
            return text(name) if text(name) in known else known[0]

        steps = [
            Step(text(f"step_{n}_edge"), text(f"step_{n}_value"))
            for n in range(MAX_RUNGS)
            if f"{prefix}step_{n}_value" in given
        ]
        return cls(
            kind=one_of("offer", OFFERS),
            unit=one_of("unit", UNITS),
            order_value=text("order_value"),
            budget=text("budget"),
            budget_per=one_of("budget_per", PERIODS),
            value=text("value"),
            prediction=text("offer_prediction"),
            steps=tuple(steps) or new.steps,
            least=text("least", new.least),
            most=text("most", new.most),
            step=text("step", new.step),
            language=language,
        )

    @classmethod
    def of_offer(cls, offer: FixedOffer | LadderOffer | LinearOffer | None, language: Language) -> OfferForm:
        """Of one that there is; None for none."""
        if offer is None:
            return cls(language=language)

        def shown(value: float) -> str:
            return shown_number(value, language)

        found = cls(
            unit=offer.unit,
            order_value="" if offer.order_value is None else shown(offer.order_value),
            budget="" if offer.budget is None else shown(offer.budget.amount),
            budget_per="total" if offer.budget is None else offer.budget.per,
            language=language,
        )
        if isinstance(offer, FixedOffer):
            return replace(found, kind="fixed", value=shown(offer.value))
        found = replace(found, prediction=offer.prediction)
        if isinstance(offer, LadderOffer):
            edges = ("", *map(shown, offer.edges))
            steps = tuple(Step(edge, shown(value)) for edge, value in zip(edges, offer.values, strict=True))
            return replace(found, kind="ladder", steps=steps)
        least, most, step = map(shown, (offer.least, offer.most, offer.step))
        return replace(found, kind="linear", least=least, most=most, step=step)

    def after(self, action: str, prefix: str = "") -> OfferForm:
        """With another step for the action `more_step`, without step N for `drop_step_N`; else the same."""
        if action == f"{prefix}more_step" and len(self.steps) < MAX_RUNGS:
            return replace(self, kind="ladder", steps=(*self.steps, Step()))
        for n in range(1, len(self.steps)):
            if action == f"{prefix}drop_step_{n}":
                return replace(self, kind="ladder", steps=(*self.steps[:n], *self.steps[n + 1 :]))
        return self

    def definition(self, kept: Mapping[str, Any], where: str = "offer") -> dict[str, Any] | None:
        """As a catalog has it, not checked; None without an offer. `kept`: what there are no fields for.

        `where`: the path of the offer, for problems. Raises `Problem` for what is no number.
        """
        if self.kind == "none":
            return None
        return {**{key: value for key, value in kept.items() if key not in OFFER_KEYS}, **dict(self._parts(where))}

    def _parts(self, where: str) -> Iterator[tuple[str, Any]]:
        def number_of(name: str, text: str) -> float:
            return number(f"{where}.{name}", text, self.language)

        yield "unit", self.unit
        if self.order_value.strip():
            yield "order_value", number_of("order_value", self.order_value)
        if self.budget.strip():
            budget: dict[str, Any] = {"amount": number_of("budget", self.budget)}
            yield "budget", budget if self.budget_per == "total" else {**budget, "per": self.budget_per}
        if self.kind == "fixed":
            yield "value", number_of("value", self.value)
            return
        yield "prediction", self.prediction
        if self.kind == "linear":
            for name in ("least", "most", "step"):
                yield name, number_of(name, getattr(self, name))
            return
        filled = [(n, step) for n, step in enumerate(self.steps) if step.value.strip() or step.edge.strip()]
        yield "edges", [number_of(f"edges[{n - 1}]", step.edge) for n, step in filled if n > 0]
        yield "values", [number_of(f"values[{n}]", step.value) for n, step in filled]


def offer_of(form: OfferForm) -> FixedOffer | LadderOffer | LinearOffer | None:
    """The offer of a form as far as it can be read already; None where it cannot, or where there is none."""
    try:
        data = form.definition({})
        return None if data is None else _READ.validate_python(data)
    except (Problem, ValidationError):
        return None  # what is wrong is told when the form is saved


def kept_of(offer: FixedOffer | LadderOffer | LinearOffer) -> dict[str, Any]:
    """What the form has no fields for, as a catalog has it."""
    data: dict[str, Any] = written(offer)
    return {key: value for key, value in data.items() if key not in OFFER_KEYS}
