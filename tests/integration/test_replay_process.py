"""`tideline replay` as a process: killed at any moment, interrupted, or with a store that goes back in time."""

from __future__ import annotations

import dataclasses
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from streams.adapters.redis_reader import RedisReader
from streams.adapters.valkey_server import EmbeddedValkey
from tests.integration.replay_world import COMMITS, ROWS, Contents, Files, Run, await_commits, folded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KILLS = 10
EACH = (COMMITS - 1) // KILLS
"""So many commits a run may make before it is killed: the last one is not made by any of them."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.write(tmp_path_factory.mktemp("input"))


def finish(files: Files, data_dir: Path, *more: str) -> str:
    """Run to the end; what it said on standard error."""
    with Run(files, data_dir, *more) as run:
        code, out, err = run.wait()
    assert code == 0, err
    assert "Small CDNOW" in out
    return err


@contextmanager
def opened(data_dir: Path) -> Iterator[tuple[EmbeddedValkey, RedisReader]]:
    with EmbeddedValkey(data_dir) as server:
        reader = RedisReader(server.url)
        yield server, reader
        reader.close()


def contents(data_dir: Path) -> Contents:
    with opened(data_dir) as (server, reader):
        return Contents.of(reader, redis.Redis.from_url(server.url))


def test_killed_ten_times_it_ends_with_the_same_transitions(files: Files, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    sys.stderr.write(f"seed of the kills: {seed}\n")  # shown when the test fails
    draw = random.Random(seed)
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    finish(files, alone)

    for kill in range(KILLS):
        with Run(files, killed, until=(kill + 1) * EACH) as run:
            await_commits(run, killed, kill * EACH + draw.randint(1, EACH))
            time.sleep(draw.uniform(0.0, 0.02))  # somewhere within the work between two commits
            assert run.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert "Going on at" in finish(files, killed)

    assert (killed / "transitions.ndjson").read_bytes() == (alone / "transitions.ndjson").read_bytes()
    left_alone = contents(alone)
    assert contents(killed) == left_alone
    assert left_alone.totals.position == ROWS
    assert left_alone.totals.transitions > 1_000
    assert folded(alone / "transitions.ndjson") == {name: users for name, users in left_alone.members.items() if users}


def test_killed_while_it_goes_on_with_another_file_it_equals_one_run_over_both(files: Files, tmp_path: Path) -> None:
    both = files.cut(tmp_path, ROWS // 3)
    first = dataclasses.replace(both, more=())
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    finish(both, alone)
    for given, until in ((first, COMMITS // 4), (both, COMMITS // 2), (both, COMMITS - 1)):
        with Run(given, killed, until=until) as run:
            await_commits(run, killed, until - 3)
            assert run.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert "Going on at" in finish(both, killed)
    assert (killed / "transitions.ndjson").read_bytes() == (alone / "transitions.ndjson").read_bytes()
    assert contents(killed) == contents(alone)
    assert contents(killed).totals.position == ROWS


def test_a_store_set_back_under_a_running_process_is_noticed(files: Files, tmp_path: Path) -> None:
    data, early, out = tmp_path / "server", tmp_path / "early", tmp_path / "out"
    alone = tmp_path / "alone"
    finish(files, alone)
    with EmbeddedValkey(data) as server:
        url = server.url
        with Run(files, out, "--store", url, until=30) as run:
            await_commits(run, url, 25)
            server.stop()
            shutil.copytree(data / "appendonlydir", early)
            assert server.start() == url
            run.let_on(until=COMMITS - 1)
            await_commits(run, url, 38)
            server.stop()
            shutil.rmtree(data / "appendonlydir")
            shutil.copytree(early, data / "appendonlydir")
            assert server.start() == url
            run.let_on()
            code, _, err = run.wait()
        assert code == 0, err
        assert "set back to an earlier copy" in err
        reader = RedisReader(url)
        (shard,) = reader.shard_infos()
        assert shard.epoch > 1
        set_back = Contents.of(reader, redis.Redis.from_url(url))
        reader.close()
    left_alone = contents(alone)
    assert set_back == left_alone
    # Crossings of the time that was forgotten are said again, under ids of the new generation.
    assert folded(out / "transitions.ndjson") == folded(alone / "transitions.ndjson")


def test_after_ctrl_c_it_says_how_to_go_on_and_does(files: Files, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Run(files, data, until=COMMITS - 1) as run:
        await_commits(run, data, 3)
        code, out, err = run.end(signal.SIGINT)
    assert (code, out) == (130, "")
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert "Going on at" in finish(files, data)
    assert contents(data).totals.position == ROWS


def test_sigterm_cleans_up_and_the_run_goes_on(files: Files, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Run(files, data, until=COMMITS - 1) as run:
        await_commits(run, data, 3)
        code, out, err = run.end(signal.SIGTERM)
    assert (code, out) == (143, "")
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert not list(data.glob("valkey.address*"))
    assert "Going on at" in finish(files, data)


def test_two_runs_of_one_directory_do_not_meet(files: Files, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Run(files, data, until=COMMITS - 1) as first:
        await_commits(first, data, 1)
        with Run(files, data) as second:
            code, _, err = second.wait()
        assert code == 4
        assert "in use by process" in err
        first.let_on()
        assert first.wait()[0] == 0
