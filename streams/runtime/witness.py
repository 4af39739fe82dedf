"""What is known, outside of a shard's store, of how far the store had come: it shows that the store went back in time.

The consumer group keeps it beside the offset of the shard's partition. It is told when a shard is taken over, and of
every commit that has something to say while it is being stored, before any of it is published. So whoever takes the
shard over next knows of all that may have been published, also when neither the store nor a process remembers.

A commit that was told and is not there was either never stored, because the worker ended on the way, or the store lost
it, and it alone. Nobody can tell the one from the other, so ids get a new generation in both cases.
"""

from __future__ import annotations

import msgspec

from streams.ports import Claim


class Witness(msgspec.Struct, frozen=True):
    """A store held commit `number` under `generation`, or was about to."""

    generation: str
    number: int

    def to_text(self) -> str:
        """As the group keeps it."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_text(cls, text: str) -> Witness | None:
        """As `to_text` gave it; None for every other text: other tools may write there, too."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError:
            return None

    def is_in(self, claim: Claim) -> bool:
        """Whether the store of `claim` holds the commit, or at least as many of that generation."""
        return claim.generation == self.generation and claim.number >= self.number

    def is_next_of(self, claim: Claim) -> bool:
        """Whether it is the commit that follows what the store of `claim` holds."""
        return claim.generation == self.generation and claim.number + 1 == self.number
