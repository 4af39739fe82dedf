"""What is known, outside of a shard's store, of how far the store had come: it shows that the store went back in time.

The consumer group keeps it beside the offset of the shard's partition. It is told when a shard is taken over, and of
every commit that has something to say before any of it is published. So whoever takes the shard over next knows of all
that may have been published, also when neither the store nor a process remembers.
"""

from __future__ import annotations

import msgspec

from streams.ports import Claim


class Witness(msgspec.Struct, frozen=True):
    """A store held commit `number` under `generation`."""

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
