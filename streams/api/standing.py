"""Where definitions stand: what shards make of them at the moment."""

from __future__ import annotations

from typing import NamedTuple

from config.catalog import Prediction
from config.definitions import Definition
from config.definitions import Kind as What
from config.dependents import references
from config.written import written
from models.snapshot import Status
from streams.adapters.definition_store import Past
from streams.api.definition_models import CampaignOn, DefinitionView, EntryView, LearningView
from streams.api.definitions_view import DefinitionsView
from streams.api.read_predictions import LEARNING, NO_EVENTS, Standings
from streams.api.stored import NothingYet, StoreReads
from streams.api.targets import EndpointView
from streams.api.views import time_text
from streams.runtime.stored import StoredState


def states_of(stored: StoreReads) -> list[StoredState]:
    """The shards' states; none where nothing is stored yet. Raises StoreUnavailable."""
    try:
        with stored.reader() as reader:
            return stored.states(reader)
    except NothingYet:
        return []


class Rests(NamedTuple):
    """What rests on a definition beside segments."""

    endpoints: list[EndpointView]
    campaigns: list[CampaignOn]


def definition_view(
    view: DefinitionsView,
    states: list[StoredState],
    past: Past | None,
    rests: Rests,
    kind: What,
    id_: str,
) -> DefinitionView:
    """One definition as it is answered, with what rests on it. Raises NotStored."""
    found, entry = view.get(kind, id_), view.entry(kind, id_)
    is_prediction = isinstance(found, Prediction)
    status = _status(found, states, past, id_)
    return DefinitionView(
        kind=kind,
        id=id_,
        source=view.source(kind, id_),
        archived=found.archived,
        access=found.access if isinstance(found, Prediction) else None,
        status=status,
        learning=_learning(past, id_, status) if is_prediction and not found.archived else None,
        version=None if entry is None else entry.version,
        created_at=None if entry is None else time_text(entry.created_s),
        changed_at=None if entry is None else time_text(entry.changed_s),
        definition=written(found),
        dependents=view.dependents(kind, id_),
        endpoints=rests.endpoints,
        campaigns=rests.campaigns,
        entry=None if is_prediction else entry_of(view, states, id_),
    )


def _status(found: Definition, states: list[StoredState], past: Past | None, id_: str) -> str:
    if isinstance(found, Prediction):
        return Standings(states, past, {id_: found}).status(id_)
    if found.archived:
        return "paused" if found.paused else "archived"
    return "defined"


def _learning(past: Past | None, id_: str, status: str) -> LearningView | None:
    if past is None or past.phase == "done" or id_ not in past.predictions:
        return None
    if past.phase == "reading" and not past.of:
        return None  # the log has just been opened: nobody knows yet how much there is
    if past.phase == "failed" and status in (LEARNING, NO_EVENTS):
        return None  # that was an attempt before the latest change
    return LearningView(phase=past.phase, records=past.records, of=past.of)


def entry_of(view: DefinitionsView, states: list[StoredState], id_: str) -> EntryView:
    """Who enters a segment, and when."""
    if view.whole.segments[id_].archived:
        return EntryView(current_members="none", words="nobody is in an archived segment")
    if view.whole.segments[id_].entry == "crossings":
        words = "only future crossings count: who fulfils the filter now enters after having left it"
        return EntryView(current_members="crossings", words=words)
    waiting = [name for name in predictions_below(view, id_) if not _serves(states, name)]
    if waiting:
        words = f"members enter when {', '.join(waiting)} says likelihoods: it is warming up, or learns from history"
        return EntryView(current_members="wait", words=words)
    return EntryView(current_members="enter_now", words="who fulfils the filter now enters at once")


def predictions_below(view: DefinitionsView, segment_id: str) -> list[str]:
    """The predictions on which a segment rests, also through others."""
    found: dict[str, None] = {}
    waiting, seen = [segment_id], {segment_id}
    while waiting:
        for kind, name in references(view.whole.segments[waiting.pop()].filter):
            if kind == "prediction":
                found[name] = None
            elif name not in seen and name in view.whole.segments:
                seen.add(name)
                waiting.append(name)
    return list(found)


def _serves(states: list[StoredState], prediction: str) -> bool:
    """Whether any shard has a model of the prediction that says likelihoods."""
    for state in states:
        if state.snapshot is not None and prediction in state.catalog.predictions:
            p = list(state.catalog.predictions).index(prediction)
            if state.snapshot.predictions[p].status != Status.WARMING:
                return True
    return False
