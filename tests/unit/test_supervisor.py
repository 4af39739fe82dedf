"""What is looked after: the order, reports, pauses that grow, and a stop the other way round."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import pytest

from benchmarks._ports import free_port
from config.errors import BrokerError, SettingsError, StoreError, TidelineError
from config.settings import load_settings
from streams.runtime.supervisor import FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S, Supervisor, next_pause_s
from streams.runtime.up_parts import CampaignsPart, Served, ServedPart, StorePart, UpJob, _ended
from tests.conftest import SLOWNESS

P = ParamSpec("P")
T = TypeVar("T")
PATIENCE_S: Final = 30.0 * SLOWNESS


class InLine(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except TidelineError as error:
            done.set_exception(error)
        return done


class FakePart:
    """Ends and fails when it is told to, and writes down what happens."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self._log = log
        self.words: str | None = None
        self.failures: list[TidelineError] = []
        self.begins: Callable[[], None] = lambda: None
        """What happens while it starts."""
        self.stops_meanwhile = False
        """Ctrl-C comes while it starts."""

    def start(self, stopping: threading.Event) -> None:
        self._log.append(f"start {self.name}")
        self.begins()
        if self.failures:
            raise self.failures.pop(0)
        self.words = None
        if self.stops_meanwhile:
            stopping.set()

    def ended(self) -> str | None:
        return self.words

    def stop(self) -> None:
        self._log.append(f"stop {self.name}")


class World:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.said: list[str] = []
        self.now_s = 100.0
        self.store, self.worker = FakePart("store", self.log), FakePart("worker", self.log)
        self.stopping = threading.Event()
        self.supervisor = Supervisor((self.store, self.worker), self.said.append, lambda: self.now_s, InLine())

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.supervisor.look(self.stopping)


def test_parts_start_in_order_and_end_the_other_way_round() -> None:
    world = World()
    world.supervisor.start(world.stopping)
    world.supervisor.look(world.stopping)
    world.supervisor.stop()
    assert world.log == ["start store", "start worker", "stop worker", "stop store"]
    assert world.said == []


def test_what_does_not_start_at_first_stops_everything() -> None:
    world = World()
    world.worker.failures = [BrokerError("no")]
    with pytest.raises(BrokerError, match="no"):
        world.supervisor.start(world.stopping)
    assert world.log == ["start store", "start worker", "stop worker", "stop store"]


def test_what_ends_is_reported_with_its_last_words_and_restarted() -> None:
    world = World()
    world.supervisor.start(world.stopping)
    world.worker.words = ": out of luck"
    world.pass_s(5.0)
    assert world.said == ["worker has ended: out of luck\nStarting worker again in 1 s."]
    world.pass_s(0.9)
    assert world.log.count("start worker") == 1
    world.pass_s(0.1)
    assert world.said[1:] == ["worker runs again."]
    assert world.log[2:] == ["stop worker", "start worker"]
    assert world.log.count("start store") == 1


def test_pauses_grow_while_it_does_not_stay() -> None:
    world = World()
    world.supervisor.start(world.stopping)
    world.store.words = ": gone"
    world.store.failures = [StoreError("still gone")] * 6
    world.supervisor.look(world.stopping)
    pauses = []
    while world.store.failures:
        started = world.log.count("start store")
        waited_s = 0.0
        while world.log.count("start store") == started:
            world.pass_s(0.5)
            waited_s += 0.5
        pauses.append(waited_s)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    assert world.said[1] == "store does not start: still gone\nStarting store again in 2 s."


def test_pauses_grow_also_where_a_start_takes_long_to_fail() -> None:
    world = World()
    world.supervisor.start(world.stopping)

    def take_long() -> None:
        world.now_s += 2.0 * STEADY_S

    world.worker.begins, world.worker.words = take_long, ": gone"
    world.worker.failures = [BrokerError("no answer")] * 3
    world.pass_s(1.0)
    for _ in range(3):
        world.pass_s(LONGEST_PAUSE_S)
    pauses = [line.rpartition(" in ")[2] for line in world.said]
    assert pauses == ["1 s.", "2 s.", "4 s.", "8 s."]


def test_what_took_long_to_start_and_ends_at_once_has_not_lived_long() -> None:
    world = World()
    world.supervisor.start(world.stopping)

    def take_long() -> None:
        world.now_s += 2.0 * STEADY_S

    world.worker.begins = take_long
    for _ in range(2):
        world.worker.words = ": gone"
        world.pass_s(1.0)
        world.pass_s(LONGEST_PAUSE_S)
    pauses = [line.rpartition(" in ")[2] for line in world.said if "ended" in line]
    assert pauses == ["1 s.", "2 s."]


def test_a_steady_life_is_forgiven() -> None:
    assert next_pause_s(0.0, 0.0) == FIRST_PAUSE_S
    assert next_pause_s(8.0, STEADY_S - 1.0) == 16.0
    assert next_pause_s(8.0, STEADY_S) == FIRST_PAUSE_S
    assert next_pause_s(LONGEST_PAUSE_S, 0.0) == LONGEST_PAUSE_S


def test_a_stop_while_parts_start_is_heard() -> None:
    world = World()
    world.store.stops_meanwhile = True
    world.supervisor.start(world.stopping)
    assert world.log == ["start store"]


def test_a_stop_during_a_restart_is_heard() -> None:
    world = World()
    world.supervisor.start(world.stopping)
    world.store.words = world.worker.words = ": gone"
    world.pass_s(5.0)
    world.store.stops_meanwhile = True
    world.pass_s(1.0)
    world.supervisor.run(world.stopping)
    assert world.log[2:] == ["stop store", "start store"]
    assert "store runs again." not in world.said


# --- a part that takes long to start ----------------------------------------------------------------------------------


class SlowWorld:
    """With threads as they are, and a clock that is half a second later each time that it is asked."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.said: list[str] = []
        self.store, self.worker = FakePart("store", self.log), FakePart("worker", self.log)
        self.stopping, self.gate = threading.Event(), threading.Event()
        ticks = itertools.count(100.0, 0.5)
        self.supervisor = Supervisor((self.store, self.worker), self.said.append, lambda: next(ticks))

    def is_held_up(self) -> None:
        """What a slow part does while it starts."""
        assert self.gate.wait(PATIENCE_S)

    def look_until(self, words: str) -> None:
        """`words` are said."""
        pause, deadline_s = threading.Event(), time.monotonic() + PATIENCE_S
        while words not in self.said:
            assert time.monotonic() < deadline_s, self.said
            self.supervisor.look(self.stopping)
            pause.wait(0.001)

    def close(self) -> None:
        self.stopping.set()
        self.gate.set()
        self.supervisor.stop()


@pytest.fixture
def slow() -> Iterator[SlowWorld]:
    world = SlowWorld()
    yield world
    world.close()


def test_while_one_part_starts_again_another_that_ends_is_reported_and_restarted(slow: SlowWorld) -> None:
    slow.supervisor.start(slow.stopping)
    slow.store.begins, slow.store.words = slow.is_held_up, ": gone"
    slow.look_until("store has ended: gone\nStarting store again in 1 s.")
    while "stop store" not in slow.log:
        slow.supervisor.look(slow.stopping)
    slow.worker.words = ": gone, too"
    slow.look_until("worker runs again.")
    assert slow.said[1:] == ["worker has ended: gone, too\nStarting worker again in 1 s.", "worker runs again."]
    slow.gate.set()
    slow.look_until("store runs again.")


def test_while_the_last_part_starts_at_first_another_that_ends_is_reported_and_restarted(slow: SlowWorld) -> None:
    def say(words: str) -> None:
        slow.said.append(words)
        if words == "store runs again.":
            slow.gate.set()

    def begin() -> None:
        slow.store.words = ": gone"
        slow.is_held_up()

    slow.supervisor = Supervisor((slow.store, slow.worker), say, itertools.count(100.0, 0.5).__next__)
    slow.worker.begins = begin
    slow.supervisor.start(slow.stopping)
    assert slow.said == ["store has ended: gone\nStarting store again in 1 s.", "store runs again."]
    assert slow.log == ["start store", "start worker", "stop store", "start store"]


def test_a_stop_while_a_part_starts_waits_for_it_alone_and_ends_all(slow: SlowWorld) -> None:
    def be_stopped() -> None:
        slow.stopping.set()
        raise StoreError("as it has to stop")

    slow.worker.begins = be_stopped
    slow.supervisor.start(slow.stopping)
    slow.supervisor.stop()
    assert slow.log == ["start store", "start worker", "stop worker", "stop store"]


def test_a_first_start_that_fails_stops_what_starts_again_meanwhile(slow: SlowWorld) -> None:
    """`stop` waits for every start, and this one waits for the stop."""
    again = threading.Event()

    def fail() -> None:
        slow.store.begins, slow.store.words = wait_for_the_stop, ": gone"
        assert again.wait(PATIENCE_S)
        raise BrokerError("no")

    def wait_for_the_stop() -> None:
        again.set()
        assert slow.stopping.wait(PATIENCE_S)

    slow.worker.begins = fail
    with pytest.raises(BrokerError, match="no"):
        slow.supervisor.start(slow.stopping)
    assert slow.log[-2:] == ["stop worker", "stop store"]


# --- a part that is a command of Tideline -----------------------------------------------------------------------------


class CommandPart(ServedPart):
    """Runs what it was given."""

    def __init__(self, log: Path, *words: str) -> None:
        super().__init__(Served("command", "127.0.0.1", 0, "--port"), log)
        self._words = words

    def command(self) -> Sequence[str]:
        return self._words


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("topics", "--kafka", "127.0.0.1:1"), BrokerError.exit_code),
        (("topics", "--kafka", "no port"), SettingsError.exit_code),
    ],
)
def test_a_part_that_does_not_start_gives_its_exit_code_on(tmp_path: Path, words: Sequence[str], code: int) -> None:
    with pytest.raises(TidelineError, match=rf"the command has ended \(status {code}\); its last words") as found:
        CommandPart(tmp_path / "log", *words).start(threading.Event())
    assert found.value.exit_code == code


class RefusingCampaigns(CampaignsPart):
    """Ends with the code of what a person wrote."""

    def command(self) -> Sequence[str]:
        return ("topics", "--kafka", "no port")


def campaigns_part(folder: Path, port: int) -> RefusingCampaigns:
    settings = load_settings(campaigns_port=port)
    job = UpJob(settings, folder / "catalog.yaml", folder, folder, with_kafka=False, kafka_port=None)
    return RefusingCampaigns(job, StorePart(folder), None)


def test_campaigns_that_are_refused_stop_nobody_else(tmp_path: Path) -> None:
    port = free_port()
    said: list[str] = []
    part, stopping = campaigns_part(tmp_path, port), threading.Event()
    supervisor = Supervisor((part,), said.append)
    supervisor.start(stopping)
    supervisor.look(stopping)
    assert "The service of campaigns has ended (status 2); its last words" in said[0]
    assert "Starting The service of campaigns again in 1 s." in said[0]
    with pytest.raises(TidelineError, match="has ended"):
        part.start(stopping)


def test_campaigns_whose_port_is_taken_are_an_error_of_the_whole(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(TidelineError, match="--campaigns-port"):
        campaigns_part(tmp_path, other.getsockname()[1]).start(threading.Event())


@pytest.mark.parametrize("status", [None, 0, 1, -9, 77])
def test_a_status_that_says_nothing_is_no_exit_code(status: int | None) -> None:
    assert _ended("gone", status).exit_code == TidelineError.exit_code
