"""Crossings as they happen, filtered by what the address says, and shown by a script as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, Literal, cast

from starlette.responses import Response

from streams.api.app import Parts
from streams.api.keys import Role
from streams.api.segments import list_segments
from streams.api.stream import open_stream
from streams.console.feature_words import feature_words
from streams.console.pages import TEXTS
from streams.console.routing import PageRoute
from streams.console.segment_words import segment_name
from streams.console.visit import Visit
from streams.runtime.wanted_crossings import WantedCrossings

_LATEST: Final = 20
"""So many of each partition are shown at the beginning."""
_DIRECTIONS: Final = ("entered", "exited")


class LivePages:
    """The page, and the stream behind it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stored = parts.services.stored

    def routes(self) -> Iterator[PageRoute]:
        """What there is to be opened."""
        yield PageRoute("/live", "GET", Role.READ, self.show)
        yield PageRoute("/live/stream", "GET", Role.READ, self.stream)

    def show(self, visit: Visit) -> Response:
        """The page. Raises `Problem` where nothing is stored yet, StoreError."""
        t = TEXTS[visit.language]
        catalog = self._parts.definer.view().whole
        with self._stored.reader() as reader:
            features = self._stored.a_state(reader).vocabulary.feature_names()
        found = list_segments(self._stored, self._parts.definer).items
        segments = {each.id: segment_name(t, catalog, each.id, each.name) for each in found}
        words: dict[str, Any] = {
            "segments": segments,
            "categories": dict(t.categories),
            "origins": dict(t.origins),
            "directions": dict(t.live_directions),
            "goal": t.by_goal_itself,
            "features": {
                f"{name}|{level}": feature_words(t, visit.format, name, high=level == "high")
                for name in features
                for level in ("high", "low")
            },
            "states": dict(t.live_states),
            "led": {"nothing": t.led_nothing, "not_yet": t.led["pending"]},
            "pause": t.pause,
            "resume": t.resume,
        }
        wanted = _asked(visit)
        # A shared address may name a segment that is no more: the form says what is really shown.
        choices = ({wanted["segment"]: wanted["segment"]} if wanted["segment"] else {}) | segments
        return visit.render("live.html", segments=choices, words=json.dumps(words), wanted=wanted)

    async def stream(self, visit: Visit) -> Response:
        """Server-sent events, as `GET /v1/stream` gives them. Raises `Problem`, BrokerError."""
        assert visit.caller is not None
        asked = _asked(visit)
        wanted = WantedCrossings(
            segments=frozenset([asked["segment"]] if asked["segment"] else []),
            user=asked["user"] or None,
            direction=cast("Literal['entered', 'exited'] | None", asked["direction"] or None),
        )
        last = visit.request.headers.get("last-event-id")
        return await open_stream(
            self._parts.services,
            self._parts.authenticator,
            visit.caller.key_id,
            wanted,
            latest=_LATEST,
            last_event_id=last,
        )


def _asked(visit: Visit) -> dict[str, str]:
    """The filter of an address; empty texts want everything."""
    direction = visit.query.get("direction", "")
    return {
        "segment": visit.query.get("segment", ""),
        "user": visit.query.get("user", "").strip(),
        "direction": direction if direction in _DIRECTIONS else "",
    }
