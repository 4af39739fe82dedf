"""The embedded log against a plain list, and what crashes, damage and a full disk leave of it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import BrokerError, BrokerUnavailable, NoLog, TopicsDiffer
from streams.adapters import log_writer
from streams.adapters.embedded_log import EmbeddedEventLog, EventWriter, LogCourier, LogSink
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_format import END_FILE, MAX_RECORD_BYTES, Entry, segment_bases, segment_path
from streams.adapters.log_reader import PartitionReader, trim
from streams.adapters.log_writer import PartitionWriter
from streams.core.partition import shard_of
from streams.ports import Message, OutboxEntry
from tests.conftest import ROOT

Pair = tuple[bytes, bytes]
Model = list[tuple[float, bytes, bytes]]
"""Log time, key and value of every record."""
ALL = 1_000_000


def pairs(folder: Path, offset: int = 0) -> list[Pair]:
    """All records from an offset on, read anew."""
    reader = PartitionReader(folder)
    try:
        found = reader.read(offset, ALL)
        assert [entry.offset for entry in found] == list(range(offset, offset + len(found)))
        return [(entry.key, entry.value) for entry in found]
    finally:
        reader.close()


def numbered(first: int, number: int) -> list[Pair]:
    return [(f"u{n}".encode(), f"value {n}".encode()) for n in range(first, first + number)]


def written(folder: Path, *batches: Sequence[Pair], segment_bytes: int = 1 << 20) -> None:
    writer = PartitionWriter(folder, segment_bytes=segment_bytes)
    for batch in batches:
        writer.append(batch)
    writer.close()


def only_segment(folder: Path) -> Path:
    (base,) = segment_bases(folder)
    return segment_path(folder, base)


# --- against a list ---------------------------------------------------------------------------------------------------

BATCHES = st.lists(
    st.tuples(st.binary(max_size=5), st.binary(max_size=40)).map(lambda pair: (pair[0], pair[1])),
    min_size=1,
    max_size=6,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), BATCHES),
        st.tuples(st.just("reopen"), st.booleans()),
        st.tuples(st.just("read"), st.tuples(st.integers(0, 80), st.integers(1, 9), st.integers(1, 200))),
        st.tuples(st.just("trim"), st.tuples(st.integers(0, 80), st.integers(0, 60), st.integers(0, 2_000))),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(STEPS)
def test_it_does_what_a_list_does(steps: list[tuple[str, Any]]) -> None:
    """The log time is the number of the append. One reader reads throughout, where it stood and elsewhere."""
    with TemporaryDirectory() as name:
        folder, clock = Path(name) / "p", count(1)
        writer = PartitionWriter(folder, segment_bytes=200, clock_s=lambda: float(next(clock)))
        reader = PartitionReader(folder)
        model: Model = []
        appends = 0
        for kind, given_ in steps:
            if kind == "append":
                assert writer.append(given_) == len(model)
                model += [(1.0 + appends, *pair) for pair in given_]
                appends += 1
            elif kind == "reopen":
                writer.close()
                if given_:
                    (folder / END_FILE).unlink(missing_ok=True)
                    reader.close()
                writer = PartitionWriter(folder, segment_bytes=200, clock_s=lambda: float(next(clock)))
                assert writer.open().offset == len(model)
            elif kind == "read":
                check_read(reader, model, *given_)
            else:
                check_trim(folder, model, *given_)
            assert reader.end == len(model)
        writer.close()
        reader.close()


def check_read(reader: PartitionReader, model: Model, offset: int, most: int, size: int) -> None:
    if offset > len(model) or offset < reader.begin:
        with pytest.raises(BrokerError, match=r"ends at|begins at"):
            reader.read(offset, most, size)
        return
    found = reader.read(offset, most, size)
    wanted = model[offset : offset + most]
    assert [tuple(entry[1:]) for entry in found] == wanted[: len(found)]
    assert all(entry.offset == offset + n for n, entry in enumerate(found))
    taken = sum(len(key) + len(value) for _, key, value in wanted[: len(found)])
    assert len(found) == len(wanted) or taken >= size
    if len(found) > 1:
        assert taken - len(found[-1].key) - len(found[-1].value) < size


def check_trim(folder: Path, model: Model, needed: int, older_s: float, size: int) -> None:
    before = segment_bases(folder)
    sizes = [segment_path(folder, base).stat().st_size for base in before]
    trim(folder, needed=needed, older_than_s=older_s, max_bytes=size)
    after = segment_bases(folder)
    gone = len(before) - len(after)
    assert after == before[gone:]
    assert after[-1:] == before[-1:], "the last one stays"
    for at in range(gone):
        is_old = model[before[at + 1]][0] < older_s
        assert before[at + 1] <= needed
        assert is_old or sum(sizes[at:]) > size
    if len(after) > 1 and after[1] <= needed:
        assert sum(sizes[gone:]) <= size
        assert model[after[1]][0] >= older_s


# --- crashes ----------------------------------------------------------------------------------------------------------


def test_a_torn_tail_is_not_read_and_the_next_writer_cuts_it_off(tmp_path: Path) -> None:
    """A kill -9 in the middle of a write, at every byte: the end mark stands before it."""
    whole, torn = numbered(0, 3), numbered(3, 2)
    written(tmp_path / "model", whole, torn)
    data = only_segment(tmp_path / "model").read_bytes()
    written(tmp_path / "p", whole)
    start = only_segment(tmp_path / "p").stat().st_size
    for size in range(start, len(data)):
        folder = tmp_path / f"p{size}"
        written(folder, whole)
        with only_segment(folder).open("ab") as file:
            file.write(data[start:size])
        assert pairs(folder) == whole
        assert only_segment(folder).stat().st_size == size, "a reader leaves it as it is"
        written(folder, numbered(9, 1))
        assert pairs(folder) == whole + numbered(9, 1)


def test_after_a_crash_of_the_machine_whole_frames_are_kept_and_the_torn_one_is_not(tmp_path: Path) -> None:
    """The end mark was lost, or stands where it stood long before."""
    whole, torn = [numbered(0, 3), numbered(3, 1)], numbered(4, 2)
    written(tmp_path / "p", whole[0])
    early = (tmp_path / "p" / END_FILE).read_bytes()
    written(tmp_path / "p", whole[1])
    start = only_segment(tmp_path / "p").stat().st_size
    written(tmp_path / "p", torn)
    data = only_segment(tmp_path / "p").read_bytes()
    for mark in (early, b"", early[:-1] + b"\0"):
        for size in range(start, len(data) + 1):
            for filled in (data[:size], data[:size] + bytes(len(data) - size)):
                only_segment(tmp_path / "p").write_bytes(filled)
                (tmp_path / "p" / END_FILE).write_bytes(mark)
                writer = PartitionWriter(tmp_path / "p")
                is_whole = filled == data
                assert writer.open().offset == (6 if is_whole else 4)
                writer.close()
                assert pairs(tmp_path / "p") == whole[0] + whole[1] + (torn if is_whole else [])


def test_segments_that_were_begun_behind_a_lost_mark_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    written(folder, numbered(0, 3))
    early = (folder / END_FILE).read_bytes()
    written(folder, numbered(3, 2), numbered(5, 2), segment_bytes=1)
    assert segment_bases(folder) == [0, 3, 5]
    (folder / END_FILE).write_bytes(early)
    assert pairs(folder) == numbered(0, 3)
    written(folder, numbered(7, 1))
    assert pairs(folder) == numbered(0, 8)


def test_a_segment_that_was_begun_and_holds_nothing_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    written(folder, numbered(0, 3))
    segment_path(folder, 3).touch()
    written(folder, numbered(3, 1))
    assert segment_bases(folder) == [0, 3]
    assert pairs(folder) == numbered(0, 4)


def test_damage_in_the_middle_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    written(folder, numbered(0, 3))
    first = only_segment(folder).stat().st_size
    written(folder, numbered(3, 2), numbered(5, 1))
    data = only_segment(folder).read_bytes()
    for at in range(first, first + 60):
        only_segment(folder).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(BrokerError, match=rf"at byte {first}: the record at offset 3 is damaged"):
            pairs(folder, 3)
        (folder / END_FILE).rename(tmp_path / END_FILE)
        with pytest.raises(BrokerError, match=rf"at byte {first}: the record at offset 3 is damaged"):
            written(folder, numbered(6, 1))
        (tmp_path / END_FILE).rename(folder / END_FILE)


def test_a_file_that_lost_acknowledged_records_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    written(folder, numbered(0, 3), numbered(3, 2))
    os.truncate(only_segment(folder), 40)
    with pytest.raises(BrokerError, match="has 40 bytes, and had"):
        written(folder, numbered(5, 1))


PROGRAM = """
import sys
from pathlib import Path
from streams.adapters.log_writer import PartitionWriter
writer = PartitionWriter(Path(sys.argv[1]), segment_bytes=4_000)
for n in range(int(sys.argv[3])):
    at = writer.append([(sys.argv[2].encode(), f"{n}-{k}".encode() * 20) for k in range(3)])
    print(at, flush=True)
"""


def appending(folder: Path, name: str, appends: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), name, str(appends)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_append_to_one_partition_while_it_is_read(tmp_path: Path) -> None:
    folder, appends = tmp_path / "p", 60
    processes = [appending(folder, name, appends) for name in ("a", "b")]
    reader, found = PartitionReader(folder), list[Entry]()
    while len(found) < 2 * 3 * appends:
        assert reader.wait(len(found), 60.0, threading.Event())
        found += reader.read(len(found), 7)
    for name, process in zip(("a", "b"), processes, strict=True):
        said, _ = process.communicate()
        assert process.returncode == 0
        mine = [entry for entry in found if entry.key == name.encode()]
        assert [entry.value for entry in mine] == [f"{n}-{k}".encode() * 20 for n in range(appends) for k in range(3)]
        assert [entry.offset for entry in mine[::3]] == [int(line) for line in said.split()]
    assert len(segment_bases(folder)) > 5
    reader.close()


def test_what_was_acknowledged_before_a_kill_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    for round_ in range(3):
        process = appending(folder, str(round_), 100_000)
        assert process.stdout is not None
        with process.stdout as lines:
            said = [int(next(lines)) for _ in range(20)]
            process.send_signal(signal.SIGKILL)
            said += [int(line) for line in lines if line.endswith("\n")]
        process.wait()
        reader = PartitionReader(folder)
        assert all(reader.read(at, 1)[0].key == str(round_).encode() for at in said)
        assert reader.end >= said[-1] + 3
        reader.close()
    total = PartitionWriter(folder).open().offset
    assert total % 3 == 0, "an append is there as a whole or not at all"
    assert len(pairs(folder)) == total


# --- no room ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_an_append_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "p"
    writer = PartitionWriter(folder)
    writer.append(numbered(0, 3))
    write, room = os.pwrite, [30]

    def full(file: int, data: bytes, at: int) -> int:
        """Takes the first bytes of a write, and no more."""
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(file, bytes(data)[: room[0]], at)
        room[0] -= done
        return done

    monkeypatch.setattr("streams.adapters.log_writer.os.pwrite", full)
    with pytest.raises(BrokerUnavailable, match=r"no room \(No space left on device\), so nothing was taken"):
        writer.append(numbered(3, 2))
    monkeypatch.undo()
    assert pairs(folder) == numbered(0, 3)
    assert writer.append(numbered(3, 2)) == 3
    writer.close()
    assert pairs(folder) == numbered(0, 5)


def test_a_file_system_that_refuses_to_sync_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "p"
    writer = PartitionWriter(folder)
    writer.append(numbered(0, 3))
    size = only_segment(folder).stat().st_size

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(log_writer, "_sync", broken)
    with pytest.raises(BrokerUnavailable, match=r"cannot be written \(Input/output error\)"):
        writer.append(numbered(3, 2))
    writer.close()
    assert only_segment(folder).stat().st_size == size
    assert pairs(folder) == numbered(0, 3)


def is_refused(writer: PartitionWriter, records: Sequence[Pair]) -> bool:
    try:
        writer.append(records)
    except BrokerUnavailable as error:
        return "reached its bound of 2,000 bytes" in str(error)
    return False


def test_the_bound_refuses_until_old_segments_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    writer = PartitionWriter(folder, segment_bytes=400, max_bytes=2_000)
    taken = 0
    while taken < 300 and not is_refused(writer, numbered(taken, 3)):
        taken += 3
    assert 20 < taken == len(pairs(folder))
    other = PartitionWriter(folder, segment_bytes=400, max_bytes=2_000)
    assert is_refused(other, numbered(taken, 3))
    assert trim(folder, needed=taken, older_than_s=0.0, max_bytes=1_000) > 0
    assert other.append(numbered(taken, 3)) == taken
    assert writer.append(numbered(taken + 3, 3)) == taken + 3
    assert other.append(numbered(taken + 6, 3)) == taken + 6
    for each in (writer, other):
        each.close()


def test_a_record_that_is_too_large_is_never_taken(tmp_path: Path) -> None:
    writer = PartitionWriter(tmp_path / "p")
    with pytest.raises(BrokerError, match="too large") as found:
        writer.append([(b"u", b"x" * MAX_RECORD_BYTES)])
    assert not isinstance(found.value, BrokerUnavailable)
    assert writer.append([(b"", b"x" * MAX_RECORD_BYTES)]) == 0
    writer.close()
    assert pairs(tmp_path / "p") == [(b"", b"x" * MAX_RECORD_BYTES)]


# --- the folder, and what is appended ---------------------------------------------------------------------------------


def test_the_number_of_partitions_is_kept(tmp_path: Path) -> None:
    with pytest.raises(NoLog, match="holds no log"):
        LogFolder.find(tmp_path)
    made = LogFolder.make(tmp_path / "log", 3)
    assert LogFolder.find(tmp_path) == made == LogFolder.make(tmp_path / "log", 3)
    assert (made.partitions("events"), made.partitions("examples")) == (3, 1)
    with pytest.raises(TopicsDiffer, match="has 3 partitions, not 2"):
        LogFolder.make(tmp_path / "log", 2)
    assert oct((tmp_path / "log").stat().st_mode)[-3:] == "700"


@pytest.mark.parametrize("words", ["three\n", "0\n", "\n", "-1\n"])
def test_a_damaged_number_of_partitions_is_no_log_that_is_missing(tmp_path: Path, words: str) -> None:
    LogFolder.make(tmp_path / "log", 3)
    (tmp_path / "log" / "partitions").write_text(words)
    with pytest.raises(BrokerError, match="partitions is damaged: it should hold how many") as found:
        LogFolder.find(tmp_path)
    assert not isinstance(found.value, NoLog)
    with pytest.raises(BrokerError, match="partitions is damaged"):
        LogFolder.make(tmp_path / "log", 3)


def test_events_of_many_callers_are_synced_together_and_stand_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, users = 3, [f"user {n}" for n in range(20)]
    syncs: list[int] = []
    sync = log_writer._sync

    def counted(file: int) -> None:
        syncs.append(file)
        sync(file)

    monkeypatch.setattr(log_writer, "_sync", counted)

    async def one_user(log: EmbeddedEventLog, user: str) -> None:
        for n in range(10):
            await log.append([(user, json.dumps([user, n, k]).encode()) for k in range(2)])
            assert [user, n, 1] in [json.loads(value) for _, value in pairs(events(user))]

    def events(user: str) -> Path:
        return tmp_path / "log" / "events" / str(shard_of(user, shards))

    async def all_users() -> None:
        log = EmbeddedEventLog(tmp_path / "log", shards)
        await asyncio.gather(*(one_user(log, user) for user in users))
        await log.append([])
        await log.close()

    asyncio.run(all_users())
    for user in users:
        mine = [json.loads(value) for key, value in pairs(events(user)) if key == user.encode()]
        assert mine == [[user, n, k] for n in range(10) for k in range(2)]
    assert len(syncs) < 200, "200 appends shared their syncs"


def test_an_event_log_that_is_full_says_so_and_takes_events_again(tmp_path: Path) -> None:
    async def fill() -> None:
        log = EmbeddedEventLog(tmp_path / "log", 1, max_bytes=20_000)
        appends = [log.append([("u", b"x" * 500)]) for _ in range(100)]
        found = [await asyncio.wait([asyncio.ensure_future(each)]) for each in appends]
        errors = [error for done, _ in found if (error := done.pop().exception()) is not None]
        assert all(isinstance(error, BrokerUnavailable) and "TIDELINE_LOG_MAX_GB" in str(error) for error in errors)
        taken = 100 - len(errors)
        assert 30 < taken < 40
        trim(tmp_path / "log" / "events" / "0", needed=taken, older_than_s=0.0, max_bytes=10_000)
        await log.append([("u", b"x" * 500)])
        with pytest.raises(BrokerError, match="too large"):
            await log.append([("u", b"x" * MAX_RECORD_BYTES)])
        await log.close()

    asyncio.run(fill())


def test_more_than_can_be_written_is_not_kept_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.adapters.embedded_log.GROUP_BYTES", 1_000)

    async def flood() -> None:
        log = EmbeddedEventLog(tmp_path / "log", 1)
        found = await asyncio.gather(*(log.append([("u", b"x" * 300)]) for _ in range(9)), return_exceptions=True)
        refused = [each for each in found if isinstance(each, BaseException)]
        assert refused
        assert all("faster than" in str(each) for each in refused)
        await log.append([("u", b"x" * 5_000)])
        await log.close()
        assert len(pairs(tmp_path / "log" / "events" / "0")) == len(found) - len(refused) + 1

    asyncio.run(flood())


def test_an_event_writer_and_a_courier_append_under_their_keys(tmp_path: Path) -> None:
    folder = LogFolder.make(tmp_path / "log", 2)
    events = EventWriter(folder)
    events.append([("a", b"1"), ("b", b"2"), ("a", b"3")])
    events.close()
    assert pairs(folder.partition("events", shard_of("a", 2)))[0] == (b"a", b"1")
    writers = {topic: PartitionWriter(folder.partition(topic, 0)) for topic in ("examples", "dead-letters")}
    courier = LogCourier(writers)
    courier.send([Message("examples", "p", b"1"), Message("examples", "q", b"2"), Message("dead-letters", "", b"3")])
    assert pairs(folder.partition("examples", 0)) == [(b"p", b"1"), (b"q", b"2")]
    assert pairs(folder.partition("dead-letters", 0)) == [(b"", b"3")]
    for writer in writers.values():
        writer.close()


def test_a_transition_that_is_published_again_stands_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.adapters.embedded_log.REMEMBERED_IDS", 3)
    made = [(f"1-{n}", json.dumps({"id": f"id{n}", "subject": f"u{n}", "data": {}}).encode()) for n in range(12)]
    wanted = [(f"u{n}".encode(), data) for n, (_, data) in enumerate(made)]

    def published(*batches: Sequence[OutboxEntry]) -> int:
        """How many records there are when one process has published these."""
        sink = LogSink(tmp_path / "p", PartitionWriter(tmp_path / "p", segment_bytes=300))
        for batch in batches:
            sink.publish(batch)
        sink.close()
        found = pairs(tmp_path / "p")
        assert found == wanted[: len(found)]
        return len(found)

    assert published([], made[:4], made[:4], made[3:5]) == 5
    assert published(made[2:5], made[4:6]) == 6, "another process"
    assert published(made[1:11]) == 11, "more than are remembered"
    assert published(made[10:11] * 2, made[11:], made[9:]) == 12


def test_waiting_ends_with_a_record_with_time_and_with_the_stop(tmp_path: Path) -> None:
    reader, stopping = PartitionReader(tmp_path / "p"), threading.Event()
    assert not reader.wait(0, 0.01, stopping)
    appending_later = threading.Timer(0.05, written, (tmp_path / "p", numbered(0, 1)))
    appending_later.start()
    assert reader.wait(0, 60.0, stopping)
    appending_later.join()
    stopping.set()
    assert not reader.wait(1, 60.0, stopping)
    reader.close()
