"""A server that lives as long as the process that started it: what the embedded servers have in common.

On Linux the kernel ends the server when its owner dies, even by kill -9; elsewhere the next start has to.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_LAST_BYTES = 8_000
_LAST_LINES = 12

# Runs in a Python of its own, because the kernel's request belongs to the process that asks for it, and code
# between fork and exec of a program with threads may hang. PR_SET_PDEATHSIG is 1.
_STARTER = """
import os, signal, sys
owner, program = int(sys.argv[1]), sys.argv[2]
os.umask(0o077)
if sys.platform == "linux":
    import ctypes
    if ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM, 0, 0, 0):
        sys.exit("prctl failed: " + os.strerror(ctypes.get_errno()))
    if os.getppid() != owner:
        sys.exit("the process that started this server has ended already")
os.execv(program, sys.argv[2:])
"""


class OwnedProcess:
    """One run of a program whose output goes to the end of a log file. Start it once."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, max_log_bytes: int = 1_000_000) -> None:
        """`command`: the program's full path and its arguments. A log above `max_log_bytes` is put aside first."""
        self._name = name
        self._command = [sys.executable, "-I", "-S", "-c", _STARTER, str(os.getpid()), *command]
        self._log = log
        self._max_log_bytes = max_log_bytes
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.ended = threading.Event()
        """Set once the program has ended, however it did."""

    def start(self, *, folder: Path, held: Sequence[int] = (), text: bytes = b"") -> None:
        """Run it in `folder`, with the open files `held`, and `text` as its input. Raises OSError."""
        if self._log.exists() and self._log.stat().st_size > self._max_log_bytes:
            self._log.replace(self._log.with_name(self._log.name + ".1"))
        started = threading.Event()
        failures: list[OSError] = []

        def run() -> None:
            # The kernel watches the *thread* that started a process, so this one stays until the server ends.
            try:
                with open_private(self._log) as output:
                    self._log_start = output.tell()
                    self._process = process = subprocess.Popen(  # noqa: S603  a fixed program with fixed arguments
                        self._command,
                        stdin=subprocess.PIPE,
                        stdout=output,
                        stderr=output,
                        cwd=folder,
                        pass_fds=held,
                        start_new_session=True,  # Ctrl-C in a terminal is for us; the server ends after the last commit
                    )
            except OSError as error:
                failures.append(error)
                return
            finally:
                started.set()
            process.communicate(text)
            self.ended.set()

        threading.Thread(target=run, name=self._name, daemon=True).start()
        started.wait()
        if failures:
            raise failures[0]

    @property
    def pid(self) -> int:
        """Process id. Only after `start`."""
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status as `subprocess` counts, None while it runs."""
        return None if self._process is None else self._process.returncode

    def terminate(self) -> None:
        """Ask it to end (SIGTERM); does not wait."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL) and wait until it is gone."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self.ended.wait()

    def stop(self, patience_s: float) -> None:
        """Ask it to end, and kill it if it has not within `patience_s`."""
        self.terminate()
        if self._process is not None and not self.ended.wait(patience_s):
            self.kill()

    def last_words(self) -> str:
        """The end of what this run wrote into its log, for a message, without the frames of Java's stack traces."""
        try:
            text = self._log.open("rb")
        except FileNotFoundError:
            return f"; its log {self._log} was taken away"
        with text:
            size = os.fstat(text.fileno()).st_size  # of what is there now: somebody may have begun a new one
            text.seek(max(self._log_start if self._log_start <= size else 0, size - _LAST_BYTES))
            lines = text.read().decode(errors="replace").strip().splitlines()
        lines = [line for line in lines if not line.startswith("\tat ")]
        words = "\n  ".join(lines[-_LAST_LINES:] or ["(none)"])
        return f"; its last words ({self._log.name} in {self._log.parent}):\n  {words}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and not self.ended.is_set():
            self._process.send_signal(number)


def open_private(path: Path) -> IO[bytes]:
    """A file to append to that nobody else can read."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.fchmod(file, 0o600)  # one of an earlier version may be open to others
    return os.fdopen(file, "ab")
