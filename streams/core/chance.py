"""Chance without a die: numbers in [0, 1) from hashes, each use with a salt of its own.

The same user gets the same number for the same use, whenever and wherever it is asked, and numbers of two uses have
nothing to do with each other. So control groups of different campaigns are independent, and need not be stored.
"""

from __future__ import annotations

from hashlib import blake2b


def _framed(parts: tuple[str, ...]) -> bytes:
    """Each part after its length, so that no two lists of parts look the same."""
    texts = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(text).to_bytes(4, "big") + text for text in texts)


def unit(use: str, *parts: str) -> float:
    """A number in [0, 1) for this use and these names."""
    found = blake2b(_framed((use, *parts)), digest_size=8, person=b"tl-chance").digest()
    # 53 bits: a float holds no more, and 64 could round up to 1.
    return (int.from_bytes(found, "big") >> 11) * 2.0**-53


def digest(*parts: str) -> str:
    """An id of 128 bits in hexadecimal."""
    return blake2b(_framed(parts), digest_size=16, person=b"tl-campaign").hexdigest()


def is_held_out(user: str, share: float) -> bool:
    """Whether no campaign ever sends anything to the user."""
    return unit("holdout", user) < share


def is_control(campaign: str, user: str, share: float) -> bool:
    """Whether the user is in the control group of a campaign or journey."""
    return unit("control", campaign, user) < share


def path_of(journey: str, step: str, user: str, shares: tuple[float, ...]) -> int:
    """Which path of a random split the user takes; shares are 1 together."""
    number, below = unit("split", journey, step, user), 0.0
    for path, share in enumerate(shares):
        below += share
        if number < below:
            return path
    return max(path for path, share in enumerate(shares) if share > 0.0)  # sums of floats end just below 1
