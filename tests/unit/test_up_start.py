"""The beginning of `tideline up`: whose directory it is, a stop while it gets ready, and the key that is made."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import pytest

from benchmarks._ports import free_port
from config.errors import StoreError, TidelineError
from config.settings import load_settings
from streams.adapters.file_lock import ProcessLock
from streams.cli.screen import stop_on_signals
from streams.runtime import precompile, up
from streams.runtime.up import run_up
from streams.runtime.up_parts import ApiPart, StorePart, UpJob
from tests.conftest import SLOWNESS

PATIENCE_S = 30.0 * SLOWNESS


class Steps:
    """Does something when a step begins."""

    def __init__(self, begins: Callable[[str], None]) -> None:
        self._begins = begins

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        self._begins(words)
        yield


@pytest.fixture
def job(tmp_path: Path) -> UpJob:
    return UpJob(load_settings(), tmp_path / "none.yaml", tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled, and compiling would take ten minutes."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    monkeypatch.setattr(precompile, "_program", lambda: "import time; time.sleep(600)")


@pytest.mark.usefixtures("cold")
def test_a_directory_in_use_is_told_before_anything_is_compiled(job: UpJob) -> None:
    job.data_dir.mkdir()
    other = ProcessLock(job.data_dir / "tideline.lock")
    assert other.acquire()
    with pytest.raises(StoreError, match=r"is in use by process \d+"):
        run_up(job, lambda _: None, Steps(pytest.fail), pytest.fail, threading.Event())
    other.release()


@pytest.mark.usefixtures("cold")
def test_a_stop_while_it_compiles_ends_that_and_nothing_is_begun(job: UpJob) -> None:
    stopping, steps = threading.Event(), list[str]()

    def begin(words: str) -> None:
        steps.append(words)
        stopping.set()

    run_up(job, lambda _: pytest.fail("no store"), Steps(begin), pytest.fail, stopping)
    assert steps == [precompile.WORDS]
    assert [path.name for path in job.data_dir.iterdir()] == ["tideline.lock"]
    again = ProcessLock(job.data_dir / "tideline.lock")
    assert again.acquire(), "the directory is given back"
    again.release()


def test_a_directory_stays_claimed_while_its_store_is_started_again(tmp_path: Path) -> None:
    store, other = StorePart(tmp_path), ProcessLock(tmp_path / "tideline.lock")
    store.claim()
    store.stop()
    assert not other.acquire()
    store.give_back()
    assert other.acquire()
    other.release()


def test_a_store_that_is_told_to_stop_while_it_starts_runs_no_more(tmp_path: Path) -> None:
    store, stopping = StorePart(tmp_path), threading.Event()
    stopping.set()
    store.start(stopping)
    assert store.url == ""
    assert store.ended() is None
    other = ProcessLock(tmp_path / "tideline.lock")
    assert other.acquire()
    other.release()


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put back what handles signals."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_also_by_who_holds_the_lock_of_the_event(number: signal.Signals) -> None:
    stopping = threading.Event()
    stop_on_signals(stopping)
    with stopping._cond:  # type: ignore[attr-defined]  # as `wait` does for a moment, and then for the next one
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert stopping.wait(PATIENCE_S)


# --- the first key ----------------------------------------------------------------------------------------------------


def test_the_key_is_there_before_the_api_looks_for_one_and_is_made_once(tmp_path: Path) -> None:
    port = free_port()
    done: list[str] = []

    class Refused(ApiPart):
        def command(self) -> Sequence[str]:
            done.append("run")
            raise TidelineError("not here")

    def make(url: str) -> str:
        done.append(f"make {url}")
        return "tl_admin_k"

    job = UpJob(load_settings(api_port=port), tmp_path / "none.yaml", tmp_path, tmp_path)
    api = Refused(job, StorePart(tmp_path), None, make)
    for _ in range(2):
        with pytest.raises(TidelineError, match="not here"):
            api.start(threading.Event())
    assert (api.key, done) == ("tl_admin_k", ["make ", "run", "run"])


def test_no_key_is_made_where_the_port_of_the_api_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        job = UpJob(load_settings(api_port=other.getsockname()[1]), tmp_path / "none.yaml", tmp_path, tmp_path)
        api = ApiPart(job, StorePart(tmp_path), None, lambda _: pytest.fail("nobody would see it"))
        with pytest.raises(TidelineError, match="--api-port"):
            api.start(threading.Event())


def test_a_key_that_was_made_for_a_start_that_fails_is_shown(job: UpJob, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, parts: Sequence[Any], say: object) -> None:
            del say
            (self._api,) = (part for part in parts if isinstance(part, ApiPart))

        def start(self, stopping: threading.Event) -> None:
            del stopping
            self._api.key = "tl_admin_k"
            raise StoreError("no campaigns")

    monkeypatch.setattr(up, "Supervisor", Failing)
    monkeypatch.setattr(precompile, "is_compiled", lambda: True)
    said: list[str] = []
    with pytest.raises(StoreError, match="no campaigns"):
        run_up(job, lambda _: None, Steps(lambda _: None), said.append, threading.Event())
    assert ["tl_admin_k" in words for words in said] == [True]
