"""Signatures as Standard Webhooks has them (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
_SHORTEST, _LONGEST = 24, 64


def write_secret(random: bytes) -> str:
    """A secret from random bytes."""
    return PREFIX + base64.b64encode(random).decode()


def read_secret(text: str) -> bytes:
    """The bytes of a secret. Raises ValueError, which does not show it."""
    try:
        found = base64.b64decode(text.removeprefix(PREFIX).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        found = b""
    if not text.startswith(PREFIX) or not _SHORTEST <= len(found) <= _LONGEST:
        words = f"expected {PREFIX} and the base64 of {_SHORTEST} to {_LONGEST} random bytes"
        raise ValueError(words) from None
    return found


def signed_headers(secrets: Sequence[str], message_id: str, now_s: float, body: bytes) -> dict[str, str]:
    """The headers of one attempt; several secrets while one takes another's place."""
    stamp = str(int(now_s))
    content = b".".join([message_id.encode(), stamp.encode(), body])
    signatures = [
        "v1," + base64.b64encode(hmac.new(read_secret(secret), content, hashlib.sha256).digest()).decode()
        for secret in secrets
    ]
    return {"webhook-id": message_id, "webhook-timestamp": stamp, "webhook-signature": " ".join(signatures)}
