"""The hashes of the core as arguments: which function they are is not what the reference judges."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass


def unit(salt: str, *parts: object) -> float:
    """A number in [0, 1) from a salt and anything that prints; 53 bits of BLAKE2b."""
    text = "\x00".join([salt, *map(str, parts)])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def _look_phase(user: str) -> float:
    return unit("look", user)


def _week_phase(user: str) -> float:
    return unit("week", user)


def _keep(user: str, time_s: float) -> float:
    return unit("keep", user, time_s.hex())


@dataclass(frozen=True, slots=True)
class Hashes:
    """Three numbers in [0, 1): f of a user (looks), g of a user (weekly examples), and that of an example (sampling);
    and the name of a user in the ledger of those who were deleted.

    The defaults are the reference's own; a comparison passes those of the shard that it compares.
    """

    look_phase: Callable[[str], float] = _look_phase
    week_phase: Callable[[str], float] = _week_phase
    keep: Callable[[str, float], float] = _keep
    ledger: Callable[[str], str] = str
