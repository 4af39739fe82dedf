"""Which kind of log a data directory was begun with is not changed by a flag."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from config.errors import BrokerError
from config.settings import load_settings
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.runtime.up import run_up
from streams.runtime.up_log import KAFKA_FOLDER, refuse_other_log
from streams.runtime.up_parts import UpJob


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
