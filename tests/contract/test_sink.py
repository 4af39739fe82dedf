"""What every sink does: each transition once, in order, however often it is given. And the file's own promises."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import InputError, StoreFull, StoreUnavailable
from streams.adapters import transition_file
from streams.adapters.memory_sinks import ListSink, NullSink
from streams.adapters.transition_file import TransitionFile
from streams.ports import OutboxEntry, Sink


def transition(number: int, text: str = "") -> bytes:
    event = {"specversion": "1.0", "id": f"id-{number}", "type": "tideline.segment.entered.v1", "data": {"x": text}}
    return json.dumps(event).encode()


def entries(*numbers: int) -> list[OutboxEntry]:
    return [(f"1-{index}", transition(number)) for index, number in enumerate(numbers)]


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


class Place(Protocol):
    def open(self) -> Sink: ...

    def read(self) -> list[bytes]: ...


class ListPlace:
    def __init__(self, _folder: Path) -> None:
        self.sink = ListSink()

    def open(self) -> Sink:
        return self.sink

    def read(self) -> list[bytes]:
        return self.sink.published


class FilePlace:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "out.ndjson"

    def open(self) -> Sink:
        return TransitionFile(self.path)

    def read(self) -> list[bytes]:
        return self.path.read_bytes().splitlines()


@pytest.fixture(params=[ListPlace, FilePlace])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    return made


def test_transitions_are_kept_in_order(place: Place) -> None:
    sink = place.open()
    sink.publish(entries(3, 1, 2))
    sink.publish([])
    sink.publish(entries(9))
    sink.close()
    assert place.read() == [transition(number) for number in (3, 1, 2, 9)]


def test_a_transition_that_is_given_again_counts_once(place: Place) -> None:
    sink = place.open()
    sink.publish(entries(1, 2))
    sink.publish(entries(2, 3))
    sink.publish(entries(1, 1, 4))
    sink.close()
    assert place.read() == [transition(number) for number in (1, 2, 3, 4)]


def test_a_transition_that_is_given_again_after_a_restart_counts_once(place: Place) -> None:
    sink = place.open()
    sink.publish(entries(1, 2))
    sink.close()
    sink = place.open()
    sink.publish(entries(1, 2, 3))
    sink.close()
    assert place.read() == [transition(number) for number in (1, 2, 3)]


def test_the_null_sink_takes_everything() -> None:
    sink: Sink = NullSink()
    sink.publish(entries(1, 2))
    sink.close()


# --- the file --------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=8), st.integers(0, 2_000))
def test_a_file_cut_at_any_byte_heals(publishes: list[list[int]], cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.ndjson"
        sink = TransitionFile(path)
        for numbers in publishes:
            sink.publish(entries(*numbers))
        sink.close()
        whole = path.read_bytes()
        path.write_bytes(whole[: min(cut, len(whole))])
        sink = TransitionFile(path)
        for numbers in publishes:  # everything after the cut was not acknowledged, so all may be given again
            sink.publish(entries(*numbers))
        sink.close()
        assert path.read_bytes() == whole


def test_ids_are_found_again_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transition_file, "_TAIL_BYTES", 100)  # shorter than a line
    path = tmp_path / "out.ndjson"
    for _ in range(2):
        sink = TransitionFile(path)
        sink.publish([("1-0", transition(number, "x" * (number % 7 * 40))) for number in range(50)])
        sink.close()
    assert ids(path) == [f"id-{number}" for number in range(50)]


def test_only_the_latest_ids_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    sink = TransitionFile(path, remembered_ids=3)
    sink.publish(entries(1, 2, 3, 4, 5))
    sink.publish(entries(3, 4, 5))
    sink.close()
    sink = TransitionFile(path, remembered_ids=3)
    sink.publish(entries(3, 4, 5, 6))
    sink.publish(entries(4, 5, 6))
    sink.publish(entries(1))
    sink.close()
    assert ids(path) == ["id-1", "id-2", "id-3", "id-4", "id-5", "id-6", "id-1"]


@pytest.mark.parametrize("kept", [1, 17, 40, 99, 100])
def test_a_commit_of_any_size_that_a_crash_cut_is_not_repeated(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "out.ndjson"
    before, commit = entries(*range(50)), entries(*range(50, 150))
    path.write_bytes(b"".join(data + b"\n" for _, data in before + commit[:kept]) + commit[kept % 100][1][:20])
    sink = TransitionFile(path, remembered_ids=10)
    sink.publish(commit)
    sink.publish(commit)  # another process took the shard and gave it back: its outbox is given once more
    sink.publish(entries(150))
    sink.close()
    assert ids(path) == [f"id-{number}" for number in range(151)]


@pytest.mark.parametrize(
    "content",
    [
        b"user,time\nann,1\n",
        b"user,time",
        b'{"name": "a catalog"}',
        b'{"name": "a catalog"}\n',
        b'{\n  "specversion": "1.0"\n}\n',
        b'{"specversion": "1.0", "id": 7}\n',
        b"\n\n",
        b"\x00" * 100,
        b"\x1f\x8b\x08\x00 a packed file",
        transition(1) + b"\n" + b"a log line\n",
        b"a log line\n" + transition(1) + b"\n",
        transition(1) + b"\n\n" + transition(2) + b"\n",
        b'{"' + b"x" * 2_000_000,
    ],
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(InputError, match="no file of transitions"):
        TransitionFile(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"{", b'{"', b'{"specversion": "1.0", "id', transition(1)[:-1]])
def test_a_first_line_that_was_cut_is_started_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.ndjson"
    path.write_bytes(content)
    sink = TransitionFile(path)
    sink.publish(entries(1))
    sink.close()
    assert path.read_bytes() == transition(1) + b"\n"


def test_a_new_file_is_for_its_owner_alone_and_an_old_one_keeps_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    TransitionFile(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    TransitionFile(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_two_writers_are_refused(tmp_path: Path) -> None:
    first = TransitionFile(tmp_path / "out.ndjson")
    with pytest.raises(InputError, match="another process"):
        TransitionFile(tmp_path / "out.ndjson")
    first.close()
    TransitionFile(tmp_path / "out.ndjson").close()


@pytest.mark.parametrize("name", [".", "missing/out.ndjson"])
def test_a_path_that_cannot_be_opened_is_an_input_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        TransitionFile(tmp_path / name)


def test_a_terminal_or_device_is_refused() -> None:
    with pytest.raises(InputError, match="regular file"):
        TransitionFile(Path("/dev/null"))


def failing_once(function: Callable[[int], None], number: int) -> Callable[[int], None]:
    failures = [OSError(number, os.strerror(number))]

    def call(file: int) -> None:
        if failures:
            raise failures.pop()
        function(file)

    return call


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StoreFull), (errno.EIO, StoreUnavailable)])
def test_a_failed_write_leaves_no_part_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    path = tmp_path / "out.ndjson"
    sink = TransitionFile(path)
    sink.publish(entries(1))
    monkeypatch.setattr(os, "fsync", failing_once(os.fsync, number))
    with pytest.raises(kind, match="cannot be written"):
        sink.publish(entries(2, 3))
    assert ids(path) == ["id-1"]
    sink.publish(entries(2, 3))
    sink.close()
    assert ids(path) == ["id-1", "id-2", "id-3"]


def test_publish_returns_after_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.ndjson"
    sink = TransitionFile(path)
    seen: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.read_bytes()))
    sink.publish(entries(1, 2))
    sink.close()
    assert seen == [transition(1) + b"\n" + transition(2) + b"\n"]


WRITER = """
import sys
from pathlib import Path
from streams.adapters.transition_file import TransitionFile
from tests.contract.test_sink import entries
sink = TransitionFile(Path(sys.argv[1]))
for number in range(1_000_000):
    sink.publish(entries(*range(5 * number, 5 * number + 5)))
    print(number, flush=True)
"""


def test_kill_9_in_mid_writing_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    acknowledged = -1
    for rounds in range(1, 4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                acknowledged = max(acknowledged, int(line))
                if int(line) >= 30 * rounds:
                    writer.send_signal(signal.SIGKILL)
                    break
    TransitionFile(path).close()
    found = ids(path)
    assert found == [f"id-{number}" for number in range(len(found))]
    assert len(found) >= 5 * (acknowledged + 1)
