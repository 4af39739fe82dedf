"""A real Prometheus tells when users behave otherwise than was learned, and when nothing is learned any more.

The rules are those of the service, at a faster clock (`prometheus_world`), and a day of the learner's is some seconds.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from benchmarks._ports import free_port
from config.settings import load_settings
from streams.adapters.log_folder import LOG_FOLDER, LogFolder
from streams.adapters.valkey_server import EmbeddedValkey
from tests.integration.operated_world import Few, go_live, learn
from tests.integration.prometheus_world import Prometheus, prometheus
from tests.integration.short_days import DAY_S
from tests.integration.test_prometheus import held
from tests.integration.worker_world import CATALOG, WorkerProcess, await_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
FASTER_FOR: Final = 900
"""What has to hold for an hour has to hold for four seconds."""
HOURS: Final = 600
CROWD: Final = 1_200
APART: Final = 18
"""Hours between looks of the crowd: each looks again within a day, which nobody expects of who is new."""
LEARNING: Final = {"TidelineDrift", "TidelineLearnerStale", "TidelineCalibrationOff"}


@dataclass
class Learning:
    """A worker whose predictions are live, and who watches it."""

    log: LogFolder
    worker: WorkerProcess
    asked: Prometheus
    load: Few
    hour: int
    """The next one."""

    def told(self) -> set[str]:
        return self.asked.firing() & LEARNING

    def await_told(self, expected: Collection[str]) -> None:
        """Until each of them fires."""
        expected = set(expected)
        try:
            await_until(lambda: self.told() >= expected, "alerts", seconds=60.0, watched=[self.worker], every_s=0.5)
        except AssertionError as error:
            raise AssertionError(f"expected: {sorted(expected)}; told: {sorted(self.told())}\n{error}") from error

    def crowd(self) -> None:
        """The next hour of many who look once; and the one behind it, by which the first one has ended."""
        at = self.load.time_of(self.hour)
        self.load.append(
            {
                "type": "track",
                "userId": f"crowd-{number}",
                "event": "Product Viewed",
                "messageId": f"c{self.hour}-{number}",
                "timestamp": (at + timedelta(milliseconds=number)).isoformat(),
            }
            for number in range(CROWD)
        )
        self.go_on(2)

    def go_on(self, hours: int) -> None:
        """What the few do in the next hours."""
        for hour in range(self.hour, self.hour + hours):
            self.load.hour(hour)
        self.hour += hours


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Learning]:
    catalog, data, port = tmp_path / "catalog.yaml", tmp_path / "data", free_port()
    catalog.write_text(CATALOG)
    LogFolder.make(data / LOG_FOLDER, 1)
    with EmbeddedValkey(tmp_path / "store", port=port):
        settings = load_settings(redis_url=f"redis://127.0.0.1:{port}/0", data_dir=data)
        program = "tests.integration.short_days"
        worker = WorkerProcess(settings, catalog, tmp_path, "worker", "--embedded", data_dir=data, program=program)
        targets = {"tideline-worker": [f"127.0.0.1:{worker.port}"]}
        try:
            with prometheus(tmp_path, targets, faster_for=FASTER_FOR) as asked:
                await_until(worker.is_working, "it works", seconds=120.0, watched=[worker])
                load = Few(data, HOURS)
                hour = go_live(load, worker, 'since="day"')
                yield Learning(LogFolder.find(data), worker, asked, load, hour)
        finally:
            worker.kill()


def test_other_users_and_learners_that_stand_still_are_told(service: Learning) -> None:
    await_until(lambda: service.asked.has_data('tideline_likelihood_drift{since="day"}'), "it is read", seconds=30.0)
    assert service.told() == set()
    # Its models are all of one day of the learner's, which are compared with the day before.
    await_until(lambda: time.time() % DAY_S < DAY_S / 3, "a day begins", seconds=DAY_S)
    learn(service.worker, partial(service.crowd))
    service.await_told({"TidelineDrift"})
    with held(service.log.partition("models", 0)):
        for _ in range(2):
            service.go_on(APART)
            service.crowd()
        service.go_on(APART)
        service.await_told({"TidelineLearnerStale"})
        assert "TidelineCalibrationOff" not in service.told()
    service.await_told({"TidelineCalibrationOff"})
    await_until(lambda: "TidelineLearnerStale" not in service.told(), "all is learned", seconds=60.0)
