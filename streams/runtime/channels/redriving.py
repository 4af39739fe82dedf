"""What people ask of channels: to send again what was given up, or of which nobody knows whether it arrived."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from streams.campaigns.effects import TEST, Send
from streams.runtime.channels.desk import send_of
from streams.runtime.deliveries.pace import Delivery

REDRIVEN_S: Final = 4 * 3_600.0
"""Who sends something again wants it still: it has so long, however old its occasion is by then."""
TEST_S: Final = 3_600.0
"""A test that has not arrived by then is given up."""
_DELIVERY: Final = msgspec.msgpack.Decoder(Delivery)


def read_delivery(data: bytes) -> Delivery:
    """As it is stored."""
    return _DELIVERY.decode(data)


def renewed(
    now_s: float, ids: Collection[str] | None = None, campaign: str | None = None
) -> Callable[[str, bytes], bytes | None]:
    """For `RedisDesks.redrive`: of those with these ids and of this campaign (None: all), what is to be sent.

    Whether the user still is in the segment, and agrees, is looked at before the attempt, as for everything late.
    """

    def make(_name: str, data: bytes) -> bytes | None:
        delivery = read_delivery(data)
        send = send_of(delivery)
        if (ids is not None and delivery.id not in ids) or (campaign is not None and send.campaign != campaign):
            return None
        expires_s = max(send.expires_s, now_s + REDRIVEN_S)
        delivery.body = msgspec.msgpack.encode(msgspec.structs.replace(send, expires_s=expires_s))
        delivery.expires_s = expires_s
        return msgspec.msgpack.encode(delivery)

    return make


def tried(send: Send) -> Delivery:
    """A message that somebody sends to see it, as it waits. Its id has to be one of tests."""
    assert send.id.startswith(TEST), "else it would count"
    return Delivery(send.id, send.user, msgspec.msgpack.encode(send), 0, send.at_s, expires_s=send.expires_s)
