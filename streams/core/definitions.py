"""A catalog as the compiled loop needs it: columns, windows, edges and programs as arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from config.catalog import Catalog, CountFilter, Filter, Prediction, SinceFilter, walk
from models.features import FeatureSpec
from models.jit import F64, I64, U8, U64
from models.labels import LabelSpec
from models.layout import Layout, build_layout
from models.reasons import TOP
from streams.core.filters import Programs, ProgramWriter, references, segments_in_order
from streams.core.history import DAYS, HOUR_BUCKETS, HOUR_S, HOURS
from streams.core.state import EVERYBODY, Conditions, PredictionTable, SegmentTable
from streams.core.vocabulary import Vocabulary

CATEGORIES = ("low", "medium", "high")
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Definitions:
    """One catalog, compiled. `prediction_ids` and `segment_ids` give the order of all columns."""

    catalog: Catalog
    prediction_ids: tuple[str, ...]
    segment_ids: tuple[str, ...]
    segment_names: tuple[str, ...]
    layout: Layout
    features: FeatureSpec
    labels: LabelSpec
    predictions: PredictionTable
    segments: SegmentTable
    conditions: Conditions
    programs: Programs


def compile_definitions(catalog: Catalog, vocabulary: Vocabulary) -> Definitions:
    """Compile a checked catalog. `vocabulary` must be fresh: the catalog's own names come first in it."""
    prediction_ids = tuple(catalog.predictions)
    segment_ids = segment_ids_of(catalog)
    custom = list(segment_ids[3 * len(prediction_ids) :])
    history = {name: j for j, name in enumerate(catalog.history)}
    writer = ProgramWriter(
        prediction=prediction_ids.index,
        segment=segment_ids.index,
        event=vocabulary.known_column,
        history=history.__getitem__,
        trait=vocabulary.traits.__getitem__,
        encode=vocabulary.literal_code,
    )
    audiences = [_write_audience(writer, p) for p in catalog.predictions.values()]
    segments = [catalog.segments[name] for name in custom]
    filters = [writer.add_nobody() if segment.archived else writer.add(segment.filter) for segment in segments]
    programs = [-1] * (3 * len(prediction_ids)) + filters
    features = _feature_spec(catalog, vocabulary)
    layout = build_layout(
        names=vocabulary.names,
        halves=len(catalog.features.half_lives_days),
        predictions=len(prediction_ids),
        segments=len(segment_ids),
        dwelling=sum(1 for s in catalog.segments.values() if s.min_dwell_s > 0),
        traits=len(vocabulary.traits),
        features=len(vocabulary.feature_names()),
        has_value=catalog.value_property is not None,
        reasons=TOP * sum(p.access == "preview" for p in catalog.predictions.values()),
    )
    prediction_bits = _prediction_bits(catalog)
    return Definitions(
        catalog=catalog,
        prediction_ids=prediction_ids,
        segment_ids=segment_ids,
        segment_names=_segment_names(catalog, custom),
        layout=layout,
        features=features,
        labels=_label_spec(catalog),
        predictions=_prediction_table(catalog, vocabulary, audiences, prediction_bits),
        segments=_segment_table(catalog, custom, segment_ids, programs, layout, prediction_bits),
        conditions=_conditions(catalog, vocabulary, history),
        programs=writer.build(),
    )


def segment_ids_of(catalog: Catalog) -> tuple[str, ...]:
    """Ids of all segments in the order in which they are decided: those of categories, then the catalog's."""
    custom = segments_in_order({name: segment.filter for name, segment in catalog.segments.items()})
    return (*(f"{p}.{c}" for p in catalog.predictions for c in CATEGORIES), *custom)


def _write_audience(writer: ProgramWriter, prediction: Prediction) -> int:
    if prediction.archived:
        return writer.add_nobody()
    return EVERYBODY if prediction.audience_filter is None else writer.add(prediction.audience_filter)


def _segment_names(catalog: Catalog, custom: list[str]) -> tuple[str, ...]:
    own = [f"{p.name}: {c}" for p in catalog.predictions.values() for c in CATEGORIES]
    return tuple(own + [catalog.segments[name].name for name in custom])


def _feature_spec(catalog: Catalog, vocabulary: Vocabulary) -> FeatureSpec:
    return FeatureSpec(
        half_life_s=np.array(catalog.features.half_lives_days) * DAY_S,
        named=vocabulary.named,
        trait_column=vocabulary.trait_column,
        trait_value=vocabulary.trait_value,
        session_gap_s=float(catalog.features.session_gap_s),
    )


def _label_spec(catalog: Catalog) -> LabelSpec:
    goals = [p.goal for p in catalog.predictions.values()]
    windows = [p.window_s for p in catalog.predictions.values()]
    sizes = [len(goal.atoms) for goal in goals]
    return LabelSpec(
        window_s=np.array(windows, np.float64),
        first_bit=np.cumsum([0, *sizes[:-1]]).astype(np.int64),
        bits=np.array(sizes, np.int64),
        any_of=np.array([goal.join == "any" for goal in goals], np.uint8),
        negated=np.array([atom.negated for goal in goals for atom in goal.atoms], np.uint8),
        bit_window_s=np.repeat(np.array(windows, np.float64), sizes),
        lateness_s=float(catalog.time.lateness_s),
        longest_s=float(max(windows)),
    )


def _prediction_bits(catalog: Catalog) -> U64:
    masks: list[int] = []
    bit = 0
    for prediction in catalog.predictions.values():
        size = len(prediction.goal.atoms)
        masks.append(((1 << size) - 1) << bit)
        bit += size
    return np.array(masks, np.uint64)


def _prediction_table(catalog: Catalog, vocabulary: Vocabulary, audiences: list[int], bits: U64) -> PredictionTable:
    predictions = list(catalog.predictions.values())
    names = [list(dict.fromkeys(vocabulary.known_column(a.event) for a in p.goal.atoms)) for p in predictions]
    negative = [p.kind == "churn" or all(a.negated for a in p.goal.atoms) for p in predictions]
    previews = np.array([p.access == "preview" for p in predictions], np.bool_)
    return PredictionTable(
        edges=np.array([[p.categories.medium, p.categories.high] for p in predictions], np.float64),
        hysteresis=np.array([p.hysteresis for p in predictions], np.float64),
        percentile=np.array([p.scale == "percentile" for p in predictions], np.uint8),
        targets=np.array([p.access == "live" for p in predictions], np.uint8),
        sign=np.where(np.array(negative), -1.0, 1.0),
        external=np.zeros(len(predictions), np.uint8),
        frozen=np.zeros(len(predictions), np.uint8),
        reason=np.where(previews, TOP * (np.cumsum(previews) - 1), -1).astype(np.int64),
        audience=np.array(audiences, np.int64),
        first_name=np.cumsum([0] + [len(n) for n in names]).astype(np.int64),
        names=np.array([k for n in names for k in n], np.int64),
        bits=bits,
    )


def _uses(catalog: Catalog, custom: list[str], segment_ids: tuple[str, ...]) -> U8:
    """Which predictions each segment uses, through other segments too; [segments, predictions]."""
    ids = list(catalog.predictions)
    uses = np.zeros((len(segment_ids), len(ids)), np.uint8)
    for g in range(3 * len(ids)):
        uses[g, g // 3] = 1
    for g, name in enumerate(custom, start=3 * len(ids)):
        tree: Filter = catalog.segments[name].filter
        for node in walk(tree):
            prediction = getattr(node, "prediction", None)
            if prediction is not None:
                uses[g, ids.index(prediction)] = 1
        for other in references(tree):
            uses[g] |= uses[segment_ids.index(other)]
    return uses


def _segment_table(
    catalog: Catalog,
    custom: list[str],
    segment_ids: tuple[str, ...],
    programs: list[int],
    layout: Layout,
    prediction_bits: U64,
) -> SegmentTable:
    n, own = len(segment_ids), 3 * len(catalog.predictions)
    uses = _uses(catalog, custom, segment_ids)
    dwell: F64 = np.zeros(n)
    column: I64 = np.full(n, -1, np.int64)
    for g, name in enumerate(custom, start=own):
        dwell[g] = catalog.segments[name].min_dwell_s
        if dwell[g] > 0 and not catalog.segments[name].archived:  # whose members leave at once
            column[g] = layout.columns.t_wanted + int((dwell[own:g] > 0).sum())
    crossings = [0] * own + [catalog.segments[name].entry == "crossings" for name in custom]
    only = np.where(uses.sum(axis=1) == 1, uses.argmax(axis=1), -1).astype(np.int64)
    bits = [int(np.bitwise_or.reduce(prediction_bits[row.astype(bool)], initial=np.uint64(0))) for row in uses]
    return SegmentTable(
        prediction=np.array([g // 3 for g in range(own)] + [-1] * (n - own), np.int64),
        category=np.array([g % 3 for g in range(own)] + [-1] * (n - own), np.int64),
        program=np.array(programs, np.int64),
        uses=(uses.astype(np.uint64) << np.arange(uses.shape[1], dtype=np.uint64)).sum(axis=1, dtype=np.uint64),
        only=only,
        bits=np.array(bits, np.uint64),
        dwell_s=dwell,
        dwell_column=column,
        crossings=np.array(crossings, np.uint8),
        epoch=np.zeros(n, np.int64),
        announced=np.zeros(n, np.int64),
        judged_anew=np.zeros(n, np.uint8),
    )


def _conditions(catalog: Catalog, vocabulary: Vocabulary, history: dict[str, int]) -> Conditions:
    """Every bound of a `since` and every window, once each: what can change while a user is silent."""
    since: dict[tuple[float, float], None] = {}
    within: dict[tuple[int, int, int], None] = {}
    for node in (n for tree in catalog.filters() for n in walk(tree)):
        if isinstance(node, SinceFilter):
            for bound in (node.since.min_s, node.since.max_s):
                if bound is not None and not math.isinf(bound):
                    since[(float(vocabulary.known_column(node.event)), bound)] = None
        elif isinstance(node, CountFilter) and node.within_s is not None:
            hourly = node.within_s <= HOUR_BUCKETS * HOUR_S
            bucket_s = HOUR_S if hourly else DAY_S
            within[(history[node.event], HOURS if hourly else DAYS, int(node.within_s // bucket_s))] = None
    return Conditions(np.array(list(since), np.float64).reshape(-1, 2), np.array(list(within), np.int64).reshape(-1, 3))
