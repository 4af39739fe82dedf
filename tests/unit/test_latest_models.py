"""Which model is in force, of those that their topic brings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from models.snapshot import BINS, Snapshot
from streams.runtime.latest_models import LatestModels
from tests.unit.test_snapshot import prediction

KeyValue = tuple[bytes, bytes | None]


def model(version: int) -> KeyValue:
    snapshot = prediction()
    return b"d:orders", Snapshot(version, (snapshot,), np.zeros((1, BINS), np.int64)).to_bytes()


@pytest.mark.parametrize(
    "records",
    [
        [model(9), model(5)],
        [model(5), model(9), (b"d:orders", b"no model")],
        [model(9), (b"d:orders", None), (b"other:orders", b"of another catalog")],
    ],
)
def test_the_newest_model_that_can_be_read_is_in_force(records: Sequence[KeyValue]) -> None:
    models = LatestModels(digest="d", predictions=("orders",), features=3)
    models.take("models", ((offset, *record) for offset, record in enumerate(records)))
    assert models.latest[0].version == 9
    assert models.offsets == {0: [version_of(record) for record in records].index(9)}
    models.take("models", [(9, *model(7))])
    assert models.latest[0].version == 9


def version_of(record: KeyValue) -> int | None:
    """None for what is no model of ours."""
    return next((version for version in (5, 9) if record == model(version)), None)
