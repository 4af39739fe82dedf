"""Which kind of log a data directory was begun with is not changed by a flag."""

from __future__ import annotations

import json
import shlex
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from config.errors import BrokerError, NoLog, TopicsDiffer
from config.loader import load_catalog
from config.settings import load_settings
from streams.adapters.kafka_server import kept_address
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.runtime.embedded.worker import run_embedded_worker
from streams.runtime.place import Place
from streams.runtime.up import run_up, where_words
from streams.runtime.up_log import KAFKA_FOLDER, find_log, refuse_other_log, with_kept_shards
from streams.runtime.up_parts import UpJob
from streams.runtime.worker_stores import WorkerJob

SHOP = Path(__file__).parents[2] / "examples" / "shop" / "catalog.yaml"


class NoSteps:
    """Nothing takes a while."""

    def step(self, words: str) -> AbstractContextManager[None]:
        pytest.fail(f"nothing is to be done: {words}")


def hold(data_dir: Path, *folders: str) -> None:
    for folder in folders:
        if folder == LOG_FOLDER:
            LogFolder.make(data_dir / folder, 2)
        else:
            (data_dir / folder).mkdir()


@pytest.mark.parametrize(("held", "with_kafka"), [((), True), ((), False), (("kafka",), True), (("log",), False)])
def test_a_new_directory_and_the_same_kind_are_fine(tmp_path: Path, held: tuple[str, ...], with_kafka: bool) -> None:
    hold(tmp_path, *held)
    refuse_other_log(tmp_path, with_kafka=with_kafka)
    refuse_other_log(tmp_path / "none", with_kafka=with_kafka)


@pytest.mark.parametrize(
    ("held", "with_kafka", "words"),
    [
        (
            (LOG_FOLDER,),
            True,
            r"begun with the embedded log, .* Start it without --kafka, or begin in another",
        ),
        ((KAFKA_FOLDER,), False, r"begun with a Kafka, .* Start it with --kafka again, or begin in another --data-dir"),
        ((LOG_FOLDER, KAFKA_FOLDER), True, r"two logs, the embedded log and a Kafka, .* another --data-dir"),
        ((LOG_FOLDER, KAFKA_FOLDER), False, r"two logs, .* mv .*/log ELSEWHERE, or mv .*/kafka ELSEWHERE"),
    ],
)
def test_another_kind_is_refused_with_what_to_do(
    tmp_path: Path, held: tuple[str, ...], with_kafka: bool, words: str
) -> None:
    hold(tmp_path, *held)
    with pytest.raises(BrokerError, match=words):
        refuse_other_log(tmp_path, with_kafka=with_kafka)


@pytest.mark.parametrize(("held", "with_kafka"), [(LOG_FOLDER, True), (KAFKA_FOLDER, False)])
def test_nothing_is_started_or_made_beside_another_kind(tmp_path: Path, held: str, with_kafka: bool) -> None:
    hold(tmp_path, held)
    job = UpJob(load_settings(), tmp_path / "none.yaml", tmp_path, tmp_path / "cache", with_kafka)
    with pytest.raises(BrokerError, match="another --data-dir"):
        run_up(job, lambda _: pytest.fail("no store"), NoSteps(), pytest.fail, threading.Event())
    assert [path.name for path in tmp_path.iterdir()] == [held]


# --- what commands with --data-dir find -------------------------------------------------------------------------------

CLUSTER = '{"cluster_id": "t", "nodes": [{"controller": 1, "listeners": {"PLAINTEXT": 20001, "SSL": 20002}}]}'


def test_a_directory_with_a_kafka_says_its_address(tmp_path: Path) -> None:
    hold(tmp_path, KAFKA_FOLDER)
    with pytest.raises(BrokerError, match=r"is a Kafka: it was never started; `tideline up .* --kafka") as found:
        find_log(tmp_path)
    assert not isinstance(found.value, NoLog)
    (tmp_path / KAFKA_FOLDER / "cluster.json").write_text(CLUSTER)
    with pytest.raises(BrokerError, match=r"in place of --data-dir give --kafka 127\.0\.0\.1:20001; "):
        find_log(tmp_path)


def test_an_address_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(BrokerError, match=r"cluster\.json cannot be read"):
        kept_address(tmp_path)


def test_of_two_logs_none_is_taken(tmp_path: Path) -> None:
    hold(tmp_path, LOG_FOLDER, KAFKA_FOLDER)
    with pytest.raises(BrokerError, match="holds two logs"):
        find_log(tmp_path)


def test_the_log_that_is_there_is_found(tmp_path: Path) -> None:
    with pytest.raises(NoLog):
        find_log(tmp_path)
    hold(tmp_path, LOG_FOLDER)
    assert find_log(tmp_path).shards == 2


# --- the number of shards of a directory ------------------------------------------------------------------------------


def hold_partitions(data_dir: Path, with_kafka: bool) -> None:
    """A log of two partitions."""
    if not with_kafka:
        hold(data_dir, LOG_FOLDER)
        return
    for name in ("tideline.events-0", "tideline.events-1", "tideline.events-2.1f-delete", "tideline.events-more-2"):
        (data_dir / KAFKA_FOLDER / "1" / "data" / name).mkdir(parents=True)


@pytest.mark.parametrize("with_kafka", [True, False])
def test_the_directory_knows_its_number_of_shards(tmp_path: Path, with_kafka: bool) -> None:
    new = with_kept_shards(load_settings(shards=5), tmp_path, with_kafka=with_kafka)
    assert new.shards == 5
    hold_partitions(tmp_path, with_kafka)
    assert with_kept_shards(load_settings(), tmp_path, with_kafka=with_kafka).shards == 2
    assert with_kept_shards(load_settings(shards=2), tmp_path, with_kafka=with_kafka).shards == 2


@pytest.mark.parametrize("with_kafka", [True, False])
def test_another_number_is_refused_before_anything_starts(tmp_path: Path, with_kafka: bool) -> None:
    hold_partitions(tmp_path, with_kafka)
    settings = load_settings(shards=3)
    job = UpJob(settings, tmp_path / "none.yaml", tmp_path, tmp_path / "cache", with_kafka)
    with pytest.raises(TopicsDiffer, match=r"begun with 2 shards, not 3: .* --shards 2 \(TIDELINE_SHARDS=2\)"):
        run_up(job, lambda _: pytest.fail("no store"), NoSteps(), pytest.fail, threading.Event())


def test_the_environment_asks_for_a_number_as_the_option_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(tmp_path, LOG_FOLDER)
    monkeypatch.setenv("TIDELINE_SHARDS", "1")
    with pytest.raises(TopicsDiffer, match="begun with 2 shards, not 1"):
        with_kept_shards(load_settings(), tmp_path, with_kafka=False)


def test_an_embedded_worker_is_not_started_beside_a_kafka(tmp_path: Path) -> None:
    hold(tmp_path, KAFKA_FOLDER)
    job = WorkerJob(load_settings(), load_catalog(SHOP), Place(tmp_path))
    with pytest.raises(BrokerError, match="with --kafka again"):
        run_embedded_worker(job, NoSteps(), pytest.fail)


def test_what_to_try_is_of_the_catalog_and_the_console_is_told(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    goal = "{name: Bookings, goal: {did: Guest's booking}, window: 7d}"
    catalog.write_text(f"{{version: 1, name: Hotel, predictions: {{bookings: {goal}}}}}")
    job = UpJob(load_settings(), catalog, tmp_path / "data", tmp_path / "cache")
    words = where_words(job, None, "http://127.0.0.1:6066", "http://127.0.0.1:8080", "tl_key")
    (call,) = (shlex.split(line) for line in words.splitlines() if "/v1/track" in line)
    assert json.loads(call[-1]) == {"userId": "ann", "event": "Guest's booking"}
    assert "http://127.0.0.1:8080/console" in words
