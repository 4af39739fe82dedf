"""What of an embedded log is taken away as old."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from config.settings import Settings, TopicKind
from streams.adapters.log_folder import LogFolder, bound_bytes
from streams.adapters.log_reader import trim

_LOG: Final = logging.getLogger(__name__)
_DAY_S: Final = 86_400.0
_TRIM_AT: Final = 0.9
"""Old records go when a topic has reached this share of its bound, so that producers are not refused before."""


def trim_topics(
    folder: LogFolder, settings: Settings, needed: Callable[[TopicKind, int], int | None], now_s: float
) -> None:
    """Take away whole segments that are older than the settings keep them, or beyond their bound.

    `needed` says from which offset on the records of a partition are still needed, None for none of them. Of models
    only those that are needed stay.
    """
    for topic, number in folder.all_partitions():
        days = settings.log_events_days if topic == "events" else 0 if topic == "models" else settings.log_rest_days
        place = folder.partition(topic, number)
        gone = trim(
            place,
            needed=needed(topic, number),
            older_than_s=now_s - days * _DAY_S,
            max_bytes=int(bound_bytes(settings) * _TRIM_AT / folder.partitions(topic)),
        )
        if gone:
            _LOG.info("%s %d: %d old segments are gone", topic, number, gone)
