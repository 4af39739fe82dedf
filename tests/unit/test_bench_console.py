"""What the benchmark of the console fills its service with. Nothing is measured here."""

from __future__ import annotations

from benchmarks import console
from config.loader import loads
from streams.core.decode import SegmentDecoder
from streams.core.events import Event


def test_everybody_is_in_the_audience_of_one_prediction_and_comes_once_in_order() -> None:
    catalog = loads(console.catalog(20))
    assert len(catalog.predictions) == 20
    decoder = SegmentDecoder(catalog)
    records = [record for batch in console.visits(50, 20, 1_790_000_000.0) for record in batch]
    events = [decoder.decode(value, n, None, n) for n, (_, value) in enumerate(records)]
    assert all(isinstance(event, Event) for event in events)
    found = [event for event in events if isinstance(event, Event)]
    assert [event.user for event in found] == [user for user, _ in records] == [f"user-{n}" for n in range(50)]
    assert {event.name for event in found} == {f"Visit {n}" for n in range(20)}
    assert [event.time_s for event in found] == sorted(event.time_s for event in found)
