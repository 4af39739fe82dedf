"""Which model is in force, of those that a poll of their topic brings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from config.settings import load_settings
from models.snapshot import BINS, Snapshot
from streams.runtime.kafka.models import ModelsService
from tests.unit.test_snapshot import prediction


class TopicRecord(NamedTuple):
    """As the client hands it out."""

    key: bytes
    value: bytes | None
    topic: str = "models"
    offset: int = 0


def model(version: int) -> TopicRecord:
    snapshot = prediction()
    return TopicRecord(b"d:orders", Snapshot(version, (snapshot,), np.zeros((1, BINS), np.int64)).to_bytes())


@pytest.mark.parametrize(
    "records",
    [
        [model(9), model(5)],
        [model(5), model(9), TopicRecord(b"d:orders", b"no model")],
        [model(9), TopicRecord(b"d:orders", None), TopicRecord(b"other:orders", b"of another catalog")],
    ],
)
def test_the_newest_model_that_can_be_read_is_in_force(records: list[TopicRecord]) -> None:
    service = ModelsService(load_settings(), digest="d", predictions=("orders",), features=3, codec=None)
    service._take(records)
    assert service.latest[0].version == 9
    service._take([model(7)])
    assert service.latest[0].version == 9
