"""How the first rows of files are understood, before anything is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import msgspec

from config.catalog import Catalog
from config.places import uses_of_events
from streams.adapters.files import Sample, sample_file
from streams.core.events import BadEvent, Event
from streams.runtime.absent import AbsentField, absent_fields
from streams.runtime.hints import DeadLetter, Refused, hint_for
from streams.runtime.missing import MissingEvent, missing_events

FIRST = 3


@dataclass(frozen=True, slots=True)
class FirstEvent:
    """One event as it is understood. `time_s` is seconds since 1970 UTC; `value` is None without money."""

    user: str
    event: str | None
    time_s: float
    value: float | None
    traits: dict[str, Any]
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FilePreview:
    """What the first rows of one file are; `whole` if there are no others. Times are seconds since 1970 UTC."""

    file: str
    rows: int
    whole: bool
    events: int
    users: int
    first_time_s: float | None
    last_time_s: float | None
    names: dict[str, int]
    """event name -> how many, the commonest first; identify events have none"""
    first: tuple[FirstEvent, ...]
    refused: tuple[Refused, ...]
    absent_fields: tuple[AbsentField, ...]
    """what the catalog's mapping names and none of the rows has"""


@dataclass(frozen=True, slots=True)
class Preview:
    """All files, and the names of the catalog that none of the rows has."""

    files: tuple[FilePreview, ...]
    missing_events: tuple[MissingEvent, ...]

    @property
    def whole(self) -> bool:
        """Whether all rows of all files were looked at."""
        return all(file.whole for file in self.files)

    @property
    def nothing_used(self) -> bool:
        """Whether no row at all could be used."""
        return not any(file.events for file in self.files)


def preview(files: Sequence[Path], catalog: Catalog, now_s: float, rows: int) -> Preview:
    """Decode the first `rows` rows of each file. Raises InputError for a file that cannot be read."""
    samples = [sample_file(path, catalog, now_s, rows) for path in files]
    names = Counter(item.name for sample in samples for item in sample.events if isinstance(item, Event) and item.name)
    unseen = [name for name in uses_of_events(catalog) if name not in names]
    return Preview(tuple(_of(sample, catalog) for sample in samples), missing_events(catalog, unseen, names))


def _of(sample: Sample, catalog: Catalog) -> FilePreview:
    events = [item for item in sample.events if isinstance(item, Event)]
    times = [event.time_s for event in events]
    return FilePreview(
        file=sample.name,
        rows=len(sample.events),
        whole=sample.whole,
        events=len(events),
        users=len({event.user for event in events}),
        first_time_s=min(times, default=None),
        last_time_s=max(times, default=None),
        names=dict(Counter(event.name for event in events if event.name is not None).most_common()),
        first=tuple(_first(event) for event in events[:FIRST]),
        refused=_refused([item for item in sample.events if isinstance(item, BadEvent)], catalog),
        absent_fields=absent_fields(sample, catalog),
    )


def _first(event: Event) -> FirstEvent:
    return FirstEvent(
        user=event.user,
        event=event.name,
        time_s=event.time_s,
        value=None if isnan(event.value) else event.value,
        traits=dict(event.traits or {}),
        properties=dict(event.properties or {}),
    )


def _refused(bad: Sequence[BadEvent], catalog: Catalog) -> tuple[Refused, ...]:
    examples: dict[str, DeadLetter] = {}
    for event in bad:
        if event.reason.value not in examples:
            examples[event.reason.value] = msgspec.json.decode(event.to_json(), type=DeadLetter)
    counts = Counter(event.reason.value for event in bad)
    return tuple(
        Refused(reason, count, hint_for(reason, [examples[reason]], catalog), (examples[reason],))
        for reason, count in counts.most_common()
    )
