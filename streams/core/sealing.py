"""The state of a shard as one handle for the compiled loop (see `models.handles`)."""

from __future__ import annotations

from typing import Any

from models.features import FeatureSpec
from models.handles import handle_type
from models.jit import jit
from models.labels import LabelSpec, Pending
from models.layout import Columns, Rows
from streams.core.dedupe import Dedupe
from streams.core.filters import Programs
from streams.core.history import History
from streams.core.queue import DueQueue
from streams.core.state import (
    Conditions,
    Events,
    Marks,
    Model,
    Out,
    Population,
    PredictionTable,
    Scratch,
    SegmentTable,
    State,
    Users,
)

RowsType, RowsHandle = handle_type(Rows, __name__)
ColumnsType, ColumnsHandle = handle_type(Columns, __name__)
FeatureSpecType, FeatureSpecHandle = handle_type(FeatureSpec, __name__)
HistoryType, HistoryHandle = handle_type(History, __name__)
UsersType, UsersHandle = handle_type(Users, __name__)
DueQueueType, DueQueueHandle = handle_type(DueQueue, __name__)
PendingType, PendingHandle = handle_type(Pending, __name__)
LabelSpecType, LabelSpecHandle = handle_type(LabelSpec, __name__)
DedupeType, DedupeHandle = handle_type(Dedupe, __name__)
PredictionTableType, PredictionTableHandle = handle_type(PredictionTable, __name__)
SegmentTableType, SegmentTableHandle = handle_type(SegmentTable, __name__)
ConditionsType, ConditionsHandle = handle_type(Conditions, __name__)
ProgramsType, ProgramsHandle = handle_type(Programs, __name__)
ModelType, ModelHandle = handle_type(Model, __name__)
PopulationType, PopulationHandle = handle_type(Population, __name__)
ScratchType, ScratchHandle = handle_type(Scratch, __name__)
OutType, OutHandle = handle_type(Out, __name__)
MarksType, MarksHandle = handle_type(Marks, __name__)
EventsType, EventsHandle = handle_type(Events, __name__)
StateType, StateHandle = handle_type(State, __name__)


@jit
def _rows(n: Any) -> Any:
    return RowsHandle(*n)


@jit
def _columns(n: Any) -> Any:
    return ColumnsHandle(*n)


@jit
def seal_features(n: Any) -> Any:
    """What the features need, as a handle."""
    return FeatureSpecHandle(*n)


@jit
def _history(n: Any) -> Any:
    return HistoryHandle(*n)


@jit
def _users(n: Any) -> Any:
    return UsersHandle(*n)


@jit
def _queue(n: Any) -> Any:
    return DueQueueHandle(*n)


@jit
def _pending(n: Any) -> Any:
    return PendingHandle(*n)


@jit
def _labels(n: Any) -> Any:
    return LabelSpecHandle(*n)


@jit
def _dedupe(n: Any) -> Any:
    return DedupeHandle(*n)


@jit
def _predictions(n: Any) -> Any:
    return PredictionTableHandle(*n)


@jit
def _segments(n: Any) -> Any:
    return SegmentTableHandle(*n)


@jit
def _conditions(n: Any) -> Any:
    return ConditionsHandle(*n)


@jit
def _programs(n: Any) -> Any:
    return ProgramsHandle(*n)


@jit
def _model(n: Any) -> Any:
    return ModelHandle(*n)


@jit
def _population(n: Any) -> Any:
    return PopulationHandle(*n)


@jit
def _scratch(n: Any) -> Any:
    return ScratchHandle(*n)


@jit
def _out(n: Any) -> Any:
    return OutHandle(*n)


@jit
def _marks(n: Any) -> Any:
    return MarksHandle(*n)


@jit
def seal_events(n: Any) -> Any:
    """A batch as a handle."""
    return EventsHandle(*n)


@jit
def _state(n: Any) -> Any:
    return StateHandle(*n)


_SEALS = {
    "rows": _rows,
    "c": _columns,
    "features": seal_features,
    "history": _history,
    "users": _users,
    "queue": _queue,
    "pending": _pending,
    "labels": _labels,
    "dedupe": _dedupe,
    "predictions": _predictions,
    "segments": _segments,
    "conditions": _conditions,
    "programs": _programs,
    "model": _model,
    "population": _population,
    "scratch": _scratch,
    "out": _out,
    "marks": _marks,
}


class Sealed:
    """Handles of a state's groups and of the whole. Arrays are shared, not copied."""

    def __init__(self, state: State) -> None:
        self.parts = {name: seal(getattr(state, name)) for name, seal in _SEALS.items()}
        whole = State(**self.parts, si=state.si, sf=state.sf)
        self.state = _state(whole)

    def __getitem__(self, name: str) -> Any:
        """The handle of one group."""
        return self.parts[name]
