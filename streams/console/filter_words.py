"""Filters in words: a tree of short lines, as its author would read it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from config.catalog import (
    AllFilter,
    AnyFilter,
    Between,
    CategoryFilter,
    Condition,
    CountFilter,
    Equals,
    Exists,
    Filter,
    LikelihoodFilter,
    NotFilter,
    OneOf,
    Prediction,
    Range,
    ScoreFilter,
    SegmentFilter,
    SinceFilter,
    TraitFilter,
)
from streams.console.language import Format
from streams.console.scalars import scalar_words
from streams.console.texts import Texts

Leaf = ScoreFilter | LikelihoodFilter | CategoryFilter | TraitFilter | CountFilter | SinceFilter | SegmentFilter


@dataclass(frozen=True, slots=True)
class Line:
    """One condition, or a group with what is in it."""

    text: str
    parts: list[Line] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FilterWords:
    """Tells filters in a language."""

    texts: Texts
    form: Format
    predictions: Mapping[str, Prediction]
    segments: Mapping[str, str]
    """What people read for the id of a segment."""

    def line(self, tree: Filter) -> Line:
        """A filter as a tree of lines."""
        groups = self.texts.filter_groups
        if isinstance(tree, AllFilter | AnyFilter):
            words = groups["all" if isinstance(tree, AllFilter) else "any"]
            return Line(words, [self.line(each) for each in tree.filters])
        if isinstance(tree, NotFilter):
            return Line(groups["not"], [self.line(tree.filter)])
        return Line(self._leaf(tree))

    def _leaf(self, tree: Leaf) -> str:
        """One condition."""
        t = self.texts
        match tree:
            case SegmentFilter():
                words = t.filter_segment.format(name=self.segments.get(tree.segment, tree.segment))
            case TraitFilter():
                words = self._trait(tree.trait, tree.condition)
            case CountFilter():
                words = self._count(tree)
            case SinceFilter():
                words = self._since(tree)
            case ScoreFilter():
                words = t.filter_score.format(prediction=self._named(tree.prediction), range=self._scores(tree.score))
            case LikelihoodFilter():
                range_ = self._likelihoods(tree.likelihood)
                words = t.filter_likelihood.format(prediction=self._named(tree.prediction), range=range_)
            case CategoryFilter():
                kind = self._kind(tree.prediction)
                names = self._either([t.categories[f"{kind}.{category}"] for category in tree.categories])
                words = t.filter_category.format(prediction=self._named(tree.prediction), names=names)
            case _:
                assert_never(tree)
        return words

    def _kind(self, prediction: str) -> str:
        found = self.predictions.get(prediction)
        return "churn" if found is not None and found.kind == "churn" else "event"

    def _named(self, prediction: str) -> str:
        found = self.predictions.get(prediction)
        return prediction if found is None else found.name

    def _scores(self, given: Range) -> str:
        low, high = given.min or 0.0, 100.0 if given.max is None else given.max
        return self.texts.filter_range.format(low=self._short(low), high=self._short(high))

    def _likelihoods(self, given: Range) -> str:
        low, high = given.min or 0.0, 1.0 if given.max is None else given.max
        return self.texts.filter_range.format(low=self.form.percent(low), high=self.form.percent(high))

    def _trait(self, trait: str, condition: Condition) -> str:
        t = self.texts
        match condition:
            case Equals():
                return t.filter_trait_is.format(trait=trait, value=self._value(condition.value))
            case OneOf():
                return t.filter_trait_is.format(
                    trait=trait, value=self._either([self._value(v) for v in condition.values])
                )
            case Exists():
                return (t.filter_trait_known if condition.exists else t.filter_trait_unknown).format(trait=trait)
            case Between():
                return t.filter_trait_between.format(trait=trait, range=self._ends(condition.min, condition.max))
            case _:
                assert_never(condition)

    def _value(self, value: str | float | bool) -> str:
        return scalar_words(self.texts, self.form.language, value)

    def _count(self, tree: CountFilter) -> str:
        t = self.texts
        times = self._ends(tree.count.min, tree.count.max)
        if tree.within_s is None:
            return t.filter_count_ever.format(event=tree.event, times=times)
        return t.filter_count.format(event=tree.event, times=times, period=self.form.duration(tree.within_s))

    def _since(self, tree: SinceFilter) -> str:
        t, low, high = self.texts, tree.since.min_s, tree.since.max_s
        if low is None:
            return t.filter_since_max.format(event=tree.event, period=self.form.duration(high or 0.0))
        if high is None:
            return t.filter_since_min.format(event=tree.event, period=self.form.duration(low))
        ends = {"low": self.form.duration(low), "high": self.form.duration(high)}
        return t.filter_since_between.format(event=tree.event, **ends)

    def _ends(self, low: float | None, high: float | None) -> str:
        t = self.texts
        if low is None or high is None:
            words = t.filter_at_most if low is None else t.filter_at_least
            return words.format(n=self._short((high if low is None else low) or 0.0))
        if low == high:
            return self._short(low)
        return t.filter_range.format(low=self._short(low), high=self._short(high))

    def _short(self, value: float) -> str:
        return self.form.number(value, 0 if value == int(value) else 2)

    def _either(self, names: list[str]) -> str:
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {self.texts.filter_or} {names[-1]}"
