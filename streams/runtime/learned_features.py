"""Which features a learner has, and in which columns, while the shards that it learns from change their catalogs.

A chunk names its features. As long as shards stand under different catalogs, each chunk is put into the columns that
the learner has; the first one of the catalog that it goes on under itself brings the new columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from config.catalog import Catalog
from config.errors import ModelError
from models.examples import ExampleChunk
from streams.core.vocabulary import Vocabulary
from streams.runtime.lockstep import LEARNER_PREFIX

FEATURES_BLOB = "features"
_FREE: Final = re.compile(r"(?:count:\?\d+:.*|(?:total|since):\?\d+|trait:.*=\?\d+)")
"""Names of columns that are kept free for names and values that events may bring."""


class _Stored(msgspec.Struct, array_like=True):
    names: tuple[str, ...]
    built: tuple[str, ...]


class LearnedFeatures:
    """`names` of the columns as they are known by now; `built` are those with which the learner was made: names that
    were found since are free columns there.
    """

    def __init__(self, names: Sequence[str], built: Sequence[str]) -> None:
        self.names = tuple(names)
        self.built = tuple(built)
        self._changed = True

    @classmethod
    def of(cls, blobs: Mapping[str, bytes], catalog: Catalog) -> LearnedFeatures:
        """As stored; those of the catalog where nothing is."""
        data = blobs.get(FEATURES_BLOB)
        if data is None:
            names = Vocabulary(catalog).feature_names()
            return cls(names, names)
        stored = msgspec.msgpack.decode(data, type=_Stored)
        found = cls(stored.names, stored.built)
        found._changed = False
        return found

    def take_changes(self) -> dict[str, bytes]:
        """What is to be stored since the last call."""
        if not self._changed:
            return {}
        self._changed = False
        return {FEATURES_BLOB: msgspec.msgpack.encode(_Stored(self.names, self.built))}

    def know(self, names: Sequence[str]) -> bool:
        """Whether there is a column for each of these."""
        return _alike(self.names, names) or {name for name in names if not _FREE.fullmatch(name)} <= set(self.names)

    def follow(self, names: Sequence[str], catalog: Catalog) -> list[int] | None:
        """Take the features of a chunk for those of the learner if `catalog` has them.

        Where that moves them: the place that each had before, -1 for a new one; then the learner has to follow.
        """
        if not names:
            return None
        if _alike(self.names, names):
            found = tuple(b if _FREE.fullmatch(a) else a for a, b in zip(self.names, names, strict=True))
            self._changed |= found != self.names
            self.names = found
            return None
        if not _alike(Vocabulary(catalog).feature_names(), names):
            return None
        place = {name: j for j, name in enumerate(self.names)}
        self.names = self.built = tuple(names)
        self._changed = True
        return [place.get(name, -1) for name in names]

    def moved(self, chunk: ExampleChunk, names: Sequence[str]) -> ExampleChunk:
        """A chunk with features of these names, in the learner's columns; 0 in those that it does not have.

        Raises ModelError for another number of features without names.
        """
        if not len(chunk):
            return replace(chunk, x=np.zeros((0, len(self.names)), np.float32))
        if _alike(self.names, names) or (not names and chunk.x.shape[1] == len(self.names)):
            return chunk
        if not names:
            raise ModelError(f"a chunk has {chunk.x.shape[1]} features without names, and {len(self.names)} are wanted")
        place = {name: j for j, name in enumerate(names)}
        x = np.zeros((len(chunk), len(self.names)), np.float32)
        for j, name in enumerate(self.names):
            if name in place:
                x[:, j] = chunk.x[:, place[name]]
        return replace(chunk, x=x)


def learner_fields(blobs: Mapping[str, bytes]) -> dict[str, bytes]:
    """What of a stored state is the learner's own."""
    return {name.removeprefix(LEARNER_PREFIX): data for name, data in blobs.items() if name.startswith(LEARNER_PREFIX)}


def _alike(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether both are the same columns, some of which may have been free when one of them was written down."""
    if ours == theirs:
        return True
    return len(ours) == len(theirs) and all(
        a == b or _FREE.fullmatch(a) or _FREE.fullmatch(b) for a, b in zip(ours, theirs, strict=True)
    )
