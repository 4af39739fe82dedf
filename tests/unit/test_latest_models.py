"""Which model is in force, of those that their topic brings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from config.catalog import Catalog
from config.errors import BrokerUnavailable
from config.loader import loads
from models.snapshot import BINS, Snapshot
from streams.core.questions import question_of
from streams.ports import Message
from streams.runtime import latest_models
from streams.runtime.latest_models import TIMES_KEPT, LatestModels, model_key
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


def test_when_a_model_came_is_known_of_the_latest_ones_and_of_older_ones_when_they_were_overtaken() -> None:
    models, key = LatestModels(CATALOG), KEY.decode()
    assert models.taken_since_s(key, (0.0, 1)) is None
    models.take("models", [(0, *model(5), 50.0), (1, *model(9), 90.0)])
    assert models.taken_since_s(key, (0.0, 5)) == 50.0
    assert models.taken_since_s(key, (0.0, 9)) == 90.0
    assert models.taken_since_s(key, (0.0, 3)) == 50.0, "at least for so long there has been a newer one"
    assert models.taken_since_s(key, (0.0, 10)) is None
    models.take("models", [(n, *model(n), 10.0 * n) for n in range(10, 10 + TIMES_KEPT)])
    assert models.taken_since_s(key, (0.0, 5)) == 100.0, "of so many the time is known"


def test_a_model_may_come_before_its_prediction() -> None:
    models = LatestModels(LATER)
    models.take("models", [(0, *model(5), 50.0), (1, *model(9), 90.0), (2, KEY, b"no model", 99.0)])
    assert models.latest == {}
    models.use(CATALOG)
    assert models.latest[KEY.decode()].version == 9
    assert models.versions() == {"orders": 9}
    assert models.taken_s() == {"orders": 90.0}
    assert models.refused == 1


def asking(days: int) -> Catalog:
    """A catalog whose question is another one for each number of days."""
    goal = "{name: Orders, goal: {did: Order}, window: %dd}"
    return loads(f"{{version: 1, name: c, predictions: {{orders: {goal % days}}}}}")


def key_of(catalog: Catalog) -> bytes:
    return model_key(question_of(catalog, "orders"), "orders").encode()


def test_however_often_a_prediction_is_defined_anew_models_of_two_definitions_are_in_force() -> None:
    models = LatestModels(asking(1))
    for days in range(1, 40):
        models.use(asking(days))
        models.take("models", [(days, key_of(asking(days)), model(days)[1], 10.0 * days)])
    assert set(models.latest) == set(models.offsets) == {key_of(asking(days)).decode() for days in (38, 39)}
    assert models.versions() == {"orders": 39}
    assert models.taken_s() == {"orders": 390.0}


def test_a_definition_of_before_finds_its_model_again() -> None:
    models = LatestModels(asking(1))
    for days in (1, 2, 3):
        models.use(asking(days))
        models.take("models", [(days, key_of(asking(days)), model(days)[1], 10.0 * days)])
    assert key_of(asking(1)).decode() not in models.latest
    models.use(asking(1))
    assert models.versions() == {"orders": 1}, "not that of the definition before, which has a higher number"
    assert models.taken_s() == {"orders": 10.0}
    assert models.offsets[key_of(asking(1)).decode()] == 1


def test_models_of_questions_that_nobody_asks_have_a_bound(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    value = model(7)[1] or b""
    monkeypatch.setattr(latest_models, "OTHERS_BYTES", 5 * len(value))
    models = LatestModels(asking(1))
    for offset, days in enumerate((2, 3, 4, 5, 6, 2, 7)):
        models.take("models", [(offset, key_of(asking(days)), value, 0.0)])
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [
        key_of(asking(days)).decode() for days in (3, 4)
    ]
    for days, is_kept in ((3, False), (4, False), (5, True), (2, True), (7, True)):
        models.use(asking(days))
        assert (key_of(asking(days)).decode() in models.latest) == is_kept, days


def version_of(record: KeyValue) -> int | None:
    """None for what is no model of ours."""
    return next((version for version in (5, 9) if record == model(version)), None)
