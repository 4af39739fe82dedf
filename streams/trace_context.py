"""W3C Trace Context as it travels with records: one line of text that says of which trace something is a part.

    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01      version, trace, span, flags

In Kafka it is the header `traceparent`. What has no headers (the embedded log, CloudEvents) has a member of this name
at the top of its JSON. Only what is sampled, which the last flag says, is looked at: everything else costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

TRACEPARENT: Final = "traceparent"
"""Of HTTP and Kafka headers, of members of events, and of the attribute of CloudEvents (Distributed Tracing)."""
LENGTH: Final = 55
"""Of a context of version 00."""
Headers: TypeAlias = list[tuple[str, bytes]]
_MEMBER: Final = b'"traceparent"'
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1


class _Carrier(msgspec.Struct):
    traceparent: str | None = None


_CARRIER: Final = msgspec.json.Decoder(_Carrier)


def sampled(text: str | None) -> str | None:
    """The context, as version 00 has it, of something that is part of a trace; None for all else.

    Of a later version what it has in common with this one is taken, as the standard asks.
    """
    found = None if text is None else _FORM.fullmatch(text)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    is_known = version != "ff" and (version != "00" or more is None)
    if not is_known or not int(trace, 16) or not int(span, 16) or not int(flags, 16) & _SAMPLED:
        return None
    return f"00-{trace}-{span}-01"


def of_headers(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    """As `sampled`, of the headers of a record."""
    for name, value in headers:
        if name == TRACEPARENT:
            return sampled((value or b"").decode("latin-1"))
    return None


def headers_of(context: str) -> Headers:
    """For a record of Kafka."""
    return [(TRACEPARENT, context.encode())]


def of_json(record: bytes) -> str | None:
    """As `sampled`, of a JSON object: an event or a transition."""
    if _MEMBER not in record:
        return None
    try:
        return sampled(_CARRIER.decode(record).traceparent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def with_trace(record: bytes, context: str) -> bytes:
    """A JSON object with members, written without blanks around it, with the context behind them."""
    return b'%b,%b:"%b"}' % (record[:-1], _MEMBER, context.encode())
