"""The embedded server: its data survive every end, nobody else gets in, and it never outlives its owner."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks._ports import free_port
from config.errors import StoreError
from streams.adapters import valkey_server
from streams.adapters.file_lock import try_lock
from streams.adapters.memory_sinks import ListSink
from streams.adapters.redis_store import RedisStore
from streams.adapters.valkey_server import LONGEST_SOCKET_PATH, EmbeddedValkey, running_server
from streams.commit import Patience, commit_batch
from streams.ports import CommitBatch, Identity

PATIENCE = Patience(sleep=time.sleep, attempts=100, longest_pause_s=0.2)

OWNER = """
import sys, time
from pathlib import Path
from streams.adapters.memory_sinks import NullSink
from streams.adapters.redis_store import RedisStore
from streams.adapters.valkey_server import EmbeddedValkey
from streams.commit import Patience, commit_batch
from streams.ports import CommitBatch, Identity

server = EmbeddedValkey(Path(sys.argv[1]))
print(server.start(), flush=True)
patience = Patience(sleep=time.sleep)
store = RedisStore(server.url, patience=patience)
store.prepare(1, Identity("c"))
claim = store.claim(0, new_generation="g")
number, trim = claim.number, None
while True:
    try:
        number += 1
        batch = CommitBatch(number=number, position=b"%d" % number, appends=[("log:1", b"%d\\n" % number)])
        trim = commit_batch(store, NullSink(), claim, batch, trim=trim, patience=patience)
        print(number, flush=True)
    except KeyboardInterrupt:
        store.confirm(claim, number)
        print("interrupted, and the store still answers", flush=True)
        server.stop()
        break
"""


@contextmanager
def owner(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that owns the directory and commits without end."""
    command = [sys.executable, "-c", OWNER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def read_until(process: subprocess.Popen[str], done: Callable[[str], bool]) -> str:
    while True:
        text = line(process)
        assert text, "the process ended"
        if done(text):
            return text


def read_commits(process: subprocess.Popen[str], wanted: int) -> int:
    """Until it has told of commit number `wanted`; returns the number."""
    return int(read_until(process, lambda text: int(text) >= wanted))


def committed(data_dir: Path) -> list[int]:
    with EmbeddedValkey(data_dir) as server:
        client: Any = redis.Redis.from_url(server.url)
        log: bytes = client.get("tl:{0}:log:1") or b""
        number = int(client.hget("tl:{0}:meta", "commit") or 0)
        client.close()
    numbers = [int(text) for text in log.split()]
    assert numbers == list(range(1, number + 1))
    return numbers


def wait_for_end(pid: int, timeout_s: float = 20.0) -> None:
    """Until the process has ended, by a descriptor that becomes readable then."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], timeout_s)[0], f"process {pid} lives on"
    finally:
        os.close(descriptor)


def server_pid(data_dir: Path) -> int:
    return int((data_dir / "valkey.pid").read_text())


# --- data and directories --------------------------------------------------------------------------------------------


def test_data_survive_a_restart(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        redis.Redis.from_url(server.url).set("k", "v")
    assert server.url == ""
    with EmbeddedValkey(tmp_path / "data") as server:
        assert redis.Redis.from_url(server.url).get("k") == b"v"


@pytest.mark.parametrize("name", ["with space", 'with "quotes"', "back\\slash", "ünï", "a%20b", "{0}"])
def test_any_directory_name_works(tmp_path: Path, name: str) -> None:
    with EmbeddedValkey(tmp_path / name) as server:
        assert redis.Redis.from_url(server.url).ping()
        assert running_server(tmp_path / name) == server.url


def test_the_settings_keep_every_commit_and_the_file_short(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server:
        client: Any = redis.Redis.from_url(server.url)
        settings = client.config_get("append*", "auto-aof*", "save", "maxmemory*", "port")
        assert "no crossing is said twice" in RedisStore(server.url, patience=PATIENCE).promises()
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert (settings["auto-aof-rewrite-percentage"], settings["auto-aof-rewrite-min-size"]) == ("100", "67108864")
    assert (settings["save"], settings["port"], settings["maxmemory-policy"]) == ("", "0", "noeviction")


def test_nobody_else_can_read_the_data(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data") as server:
        redis.Redis.from_url(server.url).set("k", "v")
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        files = list((tmp_path / "data").rglob("*"))
        assert {"valkey.log", "valkey.address"} < {file.name for file in files}
        assert [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077] == []


def test_a_log_that_others_could_read_is_closed(tmp_path: Path) -> None:
    log = tmp_path / "valkey.log"
    log.write_text("of an earlier version\n")
    log.chmod(0o644)
    with EmbeddedValkey(tmp_path):
        assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_there_is_a_port_only_on_request(tmp_path: Path) -> None:
    port = free_port()
    with EmbeddedValkey(tmp_path / "a") as server:
        assert not redis.Redis.from_url(server.url).info("server")["tcp_port"]
    with EmbeddedValkey(tmp_path / "b", port=port):
        assert redis.Redis(port=port).ping()


def test_a_long_path_gets_a_private_socket_folder_that_goes_away(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 40)
    with EmbeddedValkey(data_dir) as server:
        path = Path(server.url.removeprefix("unix://"))
        assert len(os.fsencode(path)) <= LONGEST_SOCKET_PATH
        assert not path.is_relative_to(data_dir)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert running_server(data_dir) == server.url
        redis.Redis.from_url(server.url).set("k", "v")
        pid = server_pid(data_dir)
        os.kill(pid, signal.SIGKILL)  # leaves the socket behind
        wait_for_end(pid)
        assert path.exists()
    assert not path.parent.exists()
    with EmbeddedValkey(data_dir) as server:
        assert redis.Redis.from_url(server.url).get("k") == b"v"


def test_a_socket_folder_that_others_can_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    server = EmbeddedValkey(tmp_path / ("long" * 40))
    folder = server._short_folder()
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(StoreError, match="private"):
        server.start()
    assert folder.exists()


def test_a_moved_directory_touches_nothing_of_another(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "a") as first:
        redis.Redis.from_url(first.url).set("k", "v")
        shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=shutil.ignore_patterns("*.sock"))
        assert running_server(tmp_path / "b") is None
        with EmbeddedValkey(tmp_path / "b") as second:
            assert redis.Redis.from_url(second.url).get("k") == b"v"
            assert second.url != first.url
        assert redis.Redis.from_url(first.url).ping()


def test_the_log_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey_server, "_LOG_BYTES", 2_000)
    for _ in range(6):
        with EmbeddedValkey(tmp_path):
            pass
    assert sum(file.stat().st_size for file in tmp_path.glob("valkey.log*")) < 12_000


# --- one owner -------------------------------------------------------------------------------------------------------


def test_a_directory_has_one_owner_whose_process_is_named(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path), pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
        EmbeddedValkey(tmp_path).start()
    with owner(tmp_path) as other:
        url = line(other)
        assert running_server(tmp_path) == url
        with pytest.raises(StoreError, match=f"in use by process {other.pid}"):
            EmbeddedValkey(tmp_path).start()
        assert redis.Redis.from_url(url).ping()


def test_no_server_runs_where_none_was_started(tmp_path: Path) -> None:
    assert running_server(tmp_path) is None
    with EmbeddedValkey(tmp_path):
        pass
    assert running_server(tmp_path) is None


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be the data directory"):
        EmbeddedValkey(tmp_path / "file").start()


def test_stop_may_be_called_at_any_time(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    server.stop()
    server.start()
    server.stop()
    server.stop()
    server.start()
    server.stop()


# --- ends of every kind ----------------------------------------------------------------------------------------------


def test_kill_9_of_the_owner_ends_the_server_and_loses_no_acknowledged_commit(tmp_path: Path) -> None:
    acknowledged = 0
    for wanted in (3, 40, 90):
        with owner(tmp_path) as process:
            line(process)
            pid = server_pid(tmp_path)
            acknowledged = read_commits(process, wanted)
            process.send_signal(signal.SIGKILL)
            process.wait()
            wait_for_end(pid)
        assert len(committed(tmp_path)) >= acknowledged


def test_a_new_owner_can_start_the_moment_the_old_one_is_killed(tmp_path: Path) -> None:
    for _ in range(3):
        with owner(tmp_path) as process:
            line(process)
            number = read_commits(process, 1)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(committed(tmp_path)) >= number


def test_a_new_owner_waits_for_the_old_server_to_end(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        line(process)
        number = read_commits(process, 1)
        os.kill(server_pid(tmp_path), signal.SIGSTOP)  # it cannot follow its owner yet
        old = server_pid(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    started = threading.Event()
    server = EmbeddedValkey(tmp_path)

    def start() -> None:
        server.start()
        started.set()

    thread = threading.Thread(target=start)
    thread.start()
    assert not started.wait(1.0)
    os.kill(old, signal.SIGCONT)
    thread.join(timeout=60)
    server.stop()
    assert started.is_set()
    assert len(committed(tmp_path)) >= number


def test_kill_9_of_the_owner_while_the_server_starts_leaves_no_server(tmp_path: Path) -> None:
    for pause_s in (0.0, 0.05, 0.1, 0.15):
        with owner(tmp_path) as process:
            time.sleep(pause_s)  # anywhere in the start; there is no event to wait for
            process.send_signal(signal.SIGKILL)
            process.wait()
        with EmbeddedValkey(tmp_path) as server:
            assert redis.Redis.from_url(server.url).ping()


def test_ctrl_c_reaches_the_owner_and_not_the_server(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        line(process)
        read_until(process, lambda text: text == "3")
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        read_until(process, lambda text: text == "interrupted, and the store still answers")
        assert process.wait(timeout=30) == 0
    assert "SIGINT" not in (tmp_path / "valkey.log").read_text()


def test_kill_9_of_the_server_is_told_with_its_last_words(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    server.start()
    server.check()
    redis.Redis.from_url(server.url).set("k", "v")
    os.kill(server_pid(tmp_path), signal.SIGKILL)
    server._ended.wait()
    with pytest.raises(StoreError, match=r"has ended \(status -9\).*(?s:.)*Ready to accept connections"):
        server.check()
    server.stop()
    with EmbeddedValkey(tmp_path) as again:
        assert redis.Redis.from_url(again.url).get("k") == b"v"


def test_a_server_killed_again_and_again_under_a_running_commit_loop_stores_each_batch_once(tmp_path: Path) -> None:
    """The loop does not know: it waits, asks whether its commit was stored, and goes on."""
    servers = [EmbeddedValkey(tmp_path)]
    url = servers[0].start()
    store = RedisStore(url, patience=PATIENCE)
    store.prepare(1, Identity("c"))
    claim = store.claim(0, new_generation="g")
    sink = ListSink()
    moments = threading.Semaphore(0)

    def kill_and_restart() -> None:
        for _ in range(5):
            moments.acquire()
            os.kill(server_pid(tmp_path), signal.SIGKILL)
            servers[-1]._ended.wait()
            servers[-1].stop()
            servers.append(EmbeddedValkey(tmp_path))
            servers[-1].start()

    killer = threading.Thread(target=kill_and_restart)
    killer.start()
    trim: int | None = None
    number = 0
    while killer.is_alive():
        number += 1
        if number % 20 == 10:
            moments.release()
        batch = CommitBatch(
            number=number,
            position=b"p",
            appends=[("log:1", b"%d\n" % number)],
            outbox=[b"%d" % number],
            rows=[(f"user {index}", b"r" * 500) for index in range(100)],
        )
        trim = commit_batch(store, sink, claim, batch, trim=trim, patience=PATIENCE)
    store.close()
    servers[-1].stop()
    assert len(servers) == 6
    assert len(committed(tmp_path)) == number
    assert sink.published == [b"%d" % each for each in range(1, number + 1)]


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    assert redis.Redis.from_url(server.url).ping()
    server.check()
    server.stop()


def test_an_orphan_that_was_not_ended_by_the_kernel_is_told_to_end(tmp_path: Path) -> None:
    """As on systems where the kernel does not end the server of a dead owner."""
    with EmbeddedValkey(tmp_path) as server:
        redis.Redis.from_url(server.url).set("k", "v")
    path = tmp_path / "valkey.sock"
    lock = os.open(tmp_path / "valkey.lock", os.O_RDWR)
    assert try_lock(lock)
    settings = f'port 0\nunixsocket "{path}"\ndir "{tmp_path}"\nappendonly yes\nlogfile "{tmp_path}/orphan.log"\n'
    with subprocess.Popen([valkey_server._binary(), "-"], stdin=subprocess.PIPE, pass_fds=[lock]) as orphan:
        os.close(lock)
        assert orphan.stdin is not None
        orphan.stdin.write(settings.encode())
        orphan.stdin.close()
        (tmp_path / "valkey.address").write_text(f"unix://{path}")
        with EmbeddedValkey(tmp_path) as server:
            assert orphan.wait(timeout=20) == 0
            assert redis.Redis.from_url(server.url).get("k") == b"v"


# --- damaged files ---------------------------------------------------------------------------------------------------


def appended_file(data_dir: Path) -> Path:
    (file,) = (data_dir / "appendonlydir").glob("*.incr.aof")
    return file


def write_commits(data_dir: Path, count: int) -> None:
    with EmbeddedValkey(data_dir) as server:
        store = RedisStore(server.url, patience=PATIENCE)
        store.prepare(1, Identity("c"))
        claim = store.claim(0, new_generation="g")
        for number in range(1, count + 1):
            batch = CommitBatch(number=number, position=b"p", appends=[("log:1", b"%d\n" % number)])
            store.commit(claim, batch, None)
        store.close()


@pytest.mark.parametrize("cut", [1, 20, 60, 100])
def test_a_last_commit_cut_by_a_power_failure_is_gone_as_a_whole(tmp_path: Path, cut: int) -> None:
    write_commits(tmp_path, 5)
    file = appended_file(tmp_path)
    os.truncate(file, file.stat().st_size - cut)
    assert committed(tmp_path) == [1, 2, 3, 4]


def test_a_file_damaged_in_the_middle_is_refused_with_the_reason(tmp_path: Path) -> None:
    write_commits(tmp_path, 50)
    file = appended_file(tmp_path)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = b"x" * 40
    file.write_bytes(data)
    with pytest.raises(StoreError, match=r"does not start(?s:.)*(Bad file format|unknown command)"):
        EmbeddedValkey(tmp_path).start()
    data_after = file.read_bytes()
    assert data_after == bytes(data)
    assert running_server(tmp_path) is None


def test_a_port_that_is_taken_is_refused_with_the_reason(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StoreError, match=r"does not start(?s:.)*already in use"):
            EmbeddedValkey(tmp_path, port=taken.getsockname()[1]).start()
    with EmbeddedValkey(tmp_path):
        pass  # and the directory is free again


@pytest.mark.parametrize("name", ["valkey.lock", "valkey.log"])
def test_what_cannot_be_written_is_told_and_the_directory_is_given_back(tmp_path: Path, name: str) -> None:
    """A full disk, or a directory that lost its rights, between a death and the restart: here a folder in the way."""
    (tmp_path / name).mkdir()
    server = EmbeddedValkey(tmp_path)
    for _ in range(2):  # as who supervises it does
        with pytest.raises(StoreError, match="Is a directory"):
            server.start()
    (tmp_path / name).rmdir()
    with server:
        pass
