"""Which model is in force, of those that their topic brings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from config.errors import BrokerUnavailable
from config.loader import loads
from models.snapshot import BINS, Snapshot
from streams.core.questions import question_of
from streams.ports import Message
from streams.runtime.latest_models import LatestModels, model_key
from tests.unit.test_snapshot import prediction

KeyValue = tuple[bytes, bytes | None]

CATALOG = loads("{version: 1, name: c, predictions: {orders: {name: Orders, goal: {did: Order}, window: 7d}}}")
LATER = loads("{version: 1, name: c, predictions: {orders: {name: Orders, goal: {did: Order}, window: 8d}}}")
KEY = model_key(question_of(CATALOG, "orders"), "orders").encode()


def model(version: int, begun_s: float = 0.0) -> KeyValue:
    snapshot = prediction(begun_s=begun_s)
    return KEY, Snapshot(version, (snapshot,), np.zeros((1, BINS), np.int64)).to_bytes()


@pytest.mark.parametrize(
    "records",
    [
        [model(9), model(5)],
        [model(5), model(9), (KEY, b"no model")],
        [model(9), (KEY, None), (b"other:orders", b"of another catalog")],
    ],
)
def test_the_newest_model_that_can_be_read_is_in_force(records: Sequence[KeyValue]) -> None:
    models = LatestModels(CATALOG)
    models.take("models", ((offset, *record, 0.0) for offset, record in enumerate(records)))
    assert models.latest[KEY.decode()].version == 9
    assert models.offsets == {KEY.decode(): [version_of(record) for record in records].index(9)}
    models.take("models", [(9, *model(7), 0.0)])
    assert models.latest[KEY.decode()].version == 9
    assert models.taken_s() == {}, "the log has not said when it took them"


@pytest.mark.parametrize(
    ("records", "overtaken"),
    [
        ([model(9), model(5)], True),
        ([model(9), model(5), model(7)], True),
        ([model(9), model(5), model(9)], False),
        ([model(5), model(9)], False),
        ([model(9), (KEY, b"no model")], False),
    ],
)
def test_whether_the_newest_model_stands_last_is_known(records: Sequence[KeyValue], *, overtaken: bool) -> None:
    models = LatestModels(CATALOG)
    models.take("models", ((offset, *record, 0.0) for offset, record in enumerate(records)))
    assert models.overtaken == ({KEY.decode(): model(9)[1]} if overtaken else {})


def test_a_model_that_is_overtaken_is_sent_until_it_is_taken() -> None:
    models = LatestModels(CATALOG)
    models.take("models", [(0, *model(9), 0.0), (1, *model(5), 0.0)])
    sent: list[Message] = []

    def away(messages: Sequence[Message]) -> None:
        raise BrokerUnavailable(f"{len(messages)} messages")

    with pytest.raises(BrokerUnavailable, match="1 messages"):
        models.publish_again(away)
    assert models.publish_again(sent.extend) == [KEY.decode()]
    assert sent == [Message("models", KEY.decode(), model(9)[1] or b"")]
    assert models.publish_again(sent.extend) == []
    assert len(sent) == 1


def test_a_newer_model_that_is_overtaken_meanwhile_is_sent_next() -> None:
    models = LatestModels(CATALOG)
    models.take("models", [(0, *model(9), 0.0), (1, *model(5), 0.0)])
    later = [(2, *model(11), 0.0), (3, *model(10), 0.0)]
    assert models.publish_again(lambda _: models.take("models", later)) == [KEY.decode()]
    assert models.overtaken == {KEY.decode(): model(11)[1]}


def test_models_of_examples_that_are_gone_are_not_kept_in_force() -> None:
    """Versions are places in the examples: where these were made anew, they begin again."""
    models = LatestModels(CATALOG)
    models.take("models", [(0, *model(1_000_000), 0.0), (1, *model(1, begun_s=1.0), 0.0)])
    assert models.latest[KEY.decode()].age == (1.0, 1)
    assert models.overtaken == {}, "what is gone is not published again"
    models.take("models", [(2, *model(7, begun_s=2.0), 0.0), (3, *model(2_000_000, begun_s=1.0), 0.0)])
    assert models.latest[KEY.decode()].age == (2.0, 7)
    assert models.overtaken == {KEY.decode(): model(7, begun_s=2.0)[1]}, "a late one of before"


def test_a_model_may_come_before_its_prediction() -> None:
    models = LatestModels(LATER)
    models.take("models", [(0, *model(5), 50.0), (1, *model(9), 90.0), (2, KEY, b"no model", 99.0)])
    assert models.latest == {}
    models.use(CATALOG)
    assert models.latest[KEY.decode()].version == 9
    assert models.versions() == {"orders": 9}
    assert models.taken_s() == {"orders": 90.0}
    assert models.refused == 1


def version_of(record: KeyValue) -> int | None:
    """None for what is no model of ours."""
    return next((version for version in (5, 9) if record == model(version)), None)
