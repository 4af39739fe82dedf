"""Offers: what a message promises, to whom how much of it, and how much of it altogether."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from config.base import Duration, Id, Model, Tup, branch, refuse_rule
from config.durations import DAY_S

MAX_RUNGS = 21


class Budget(Model):
    """How much all offers of a campaign may cost together."""

    amount: float = Field(gt=0, le=1e12)
    """Money; it is never exceeded."""
    per: Literal["total", "day", "month"] = "total"
    """total, or for every day or month (UTC) anew."""


class Terms(Model):
    """What all kinds of offers have in common."""

    unit: Literal["percent", "amount"]
    """percent of an order, or an amount of money."""
    order_value: float | None = Field(default=None, gt=0, le=1e9)
    """What an order is worth, for the cost of a percentage."""
    budget: Budget | None = None
    """How much all of them may cost together. Without it any amount."""
    fixed_for_s: Duration = Field(default=30 * DAY_S, alias="fixed_for")
    """For so long after an offer a user gets no better one of this campaign."""

    @property
    def values_offered(self) -> tuple[float, ...]:
        """Every value that there is, by rung."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _costs(self) -> Terms:
        if self.budget is not None and self.unit == "percent" and self.order_value is None:
            raise refuse_rule("order_value beside a budget for percentages, or their cost is not known")
        values = self.values_offered
        if min(values) < 0 or (self.unit == "percent" and max(values) > 100):
            raise refuse_rule("values from 0" + (" to 100" if self.unit == "percent" else ""))
        if self.budget is not None and self.cost(max(values)) > self.budget.amount:
            raise refuse_rule(f"a budget of at least one offer ({self.cost(max(values)):g})")
        return self

    def cost(self, value: float) -> float:
        """What an offer of that value costs, if it is used."""
        return value if self.unit == "amount" else value / 100.0 * (self.order_value or 0.0)


class FixedOffer(Terms):
    """The same for everybody."""

    value: float
    """Percent or amount."""

    @property
    def values_offered(self) -> tuple[float, ...]:
        """See `Terms`."""
        return (self.value,)


class LadderOffer(Terms):
    """A step for each range of a score."""

    prediction: Id
    """Whose score decides."""
    edges: Tup[float] = Field(min_length=1, max_length=MAX_RUNGS - 1)
    """Scores at which the next step begins, ascending."""
    values: Tup[float] = Field(min_length=2, max_length=MAX_RUNGS)
    """Value of each step, from the lowest scores to the highest: one more than edges."""

    @property
    def values_offered(self) -> tuple[float, ...]:
        """See `Terms`."""
        return self.values

    @model_validator(mode="after")
    def _steps(self) -> LadderOffer:
        if len(self.values) != len(self.edges) + 1:
            raise refuse_rule(f"one value more than edges (found {len(self.values)} and {len(self.edges)})")
        if list(self.edges) != sorted(set(self.edges)) or not 0 < self.edges[0] <= self.edges[-1] < 100:
            raise refuse_rule("edges that ascend, between 0 and 100")
        return self


class LinearOffer(Terms):
    """A sliding scale over the score: for a wanted event most at 0, for churn most at 100."""

    prediction: Id
    """Whose score decides, and by its kind at which end most is given."""
    least: float = 0.0
    """Value at the end where least is given."""
    most: float
    """Value at the other end."""
    step: float = Field(default=1.0, gt=0)
    """Values are rounded to multiples of this from `least` on; at most 21 different ones."""

    @property
    def values_offered(self) -> tuple[float, ...]:
        """See `Terms`: from least to most."""
        return tuple(self.least + rung * self.step for rung in range(self.rungs))

    @property
    def rungs(self) -> int:
        """How many different values there are."""
        return int((self.most - self.least) / self.step + 1e-9) + 1

    @model_validator(mode="before")
    @classmethod
    def _ends(cls, data: Any) -> Any:
        # Before the rest, which asks for every value that there is.
        if not isinstance(data, dict):
            return data
        least, most, step = data.get("least", 0.0), data.get("most"), data.get("step", 1.0)
        if not all(isinstance(each, int | float) for each in (least, most, step)):
            return data  # the types say what is wrong
        if least >= most:
            raise refuse_rule(f"least below most (found {least:g} and {most:g})")
        if step <= 0 or (most - least) / step > MAX_RUNGS - 1:
            raise refuse_rule(f"a step that gives at most {MAX_RUNGS} different values")
        return data


_TYPES: dict[str, type[Model]] = {"~values": LadderOffer, "~most": LinearOffer, "~value": FixedOffer}


def _offer_kind(value: Any) -> str | None:
    return branch(value, {tag[1:]: tag for tag in _TYPES}, _TYPES)


Offer: TypeAlias = Annotated[
    Annotated[LadderOffer, Tag("~values")]
    | Annotated[LinearOffer, Tag("~most")]
    | Annotated[FixedOffer, Tag("~value")],
    Discriminator(
        _offer_kind,
        custom_error_type="expected",
        custom_error_message="an offer: {value: ...}, {prediction: ..., edges: [...], values: [...]} or "
        "{prediction: ..., least: ..., most: ...}, each with unit: percent or amount",
    ),
]
