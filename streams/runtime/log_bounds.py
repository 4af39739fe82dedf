"""Whether a log can go on where the store stands."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from config.errors import BrokerError

_LOG: Final = logging.getLogger(__name__)
_ANEW: Final = "Begin anew with what is there by another TIDELINE_KEY_PREFIX."


@dataclass(frozen=True, slots=True)
class Bounds:
    """Offsets of the first record that a partition holds, and behind the last one that may be read."""

    begin: int
    end: int


def where_to_begin(place: str, offset: int, bounds: Bounds, *, accepts_gaps: bool) -> int:
    """From where to read for a store that stands at `offset`; 0 is one without a commit, for which all begins there.

    `place` is topic and partition. `accepts_gaps`: records that are gone are told in the log and left out. Raises
    BrokerError where records are gone (unless accepted), or the topic ends before `offset`: it is not the one that was
    read.
    """
    where = f"{place}: the store stands at offset {offset}, and the topic"
    if offset > bounds.end:
        raise BrokerError(
            f"{where} ends at {bounds.end}: it is another topic than the one that was read, or records were lost. "
            f"Bring the topic back, or its records. {_ANEW}"
        )
    if bounds.begin <= offset:
        return offset
    if offset and not accepts_gaps:
        raise BrokerError(
            f"{where} begins at {bounds.begin}: what lies between is gone. Were workers away for longer than the "
            f"topic keeps records, or is it another topic? {_ANEW}"
        )
    if offset:
        _LOG.warning("%s begins at %d: what lies between is left out", where, bounds.begin)
    return bounds.begin
