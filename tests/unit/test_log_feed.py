"""Threads that read the embedded log for feeds: they keep what they work with, and take nobody else's turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streams.adapters.log_feed import EmbeddedFeed, EmbeddedTransitionLog
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_format import Entry
from streams.adapters.log_reader import PartitionReader
from streams.adapters.log_writer import PartitionWriter
from streams.ports import Crossing
from tests.conftest import SLOWNESS
from tests.unit.crossing_examples import crossing

PATIENCE_S = 20.0 * SLOWNESS


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class HeldReads:
    """Reads stand still in their thread, before they open a file, until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go_on = threading.Event()
        self.begun, self.ended, self.closed = (threading.Semaphore(0) for _ in range(3))
        read, close = PartitionReader.read, PartitionReader.close

        def held(reader: PartitionReader, offset: int, max_records: int) -> list[Entry]:
            self.begun.release()
            try:
                assert self.may_go_on.wait(PATIENCE_S)
                return read(reader, offset, max_records)
            finally:
                self.ended.release()

        def told(reader: PartitionReader) -> None:
            close(reader)
            self.closed.release()

        monkeypatch.setattr(PartitionReader, "read", held)
        monkeypatch.setattr(PartitionReader, "close", told)


async def until(semaphore: threading.Semaphore) -> None:
    """In a thread that nobody shares."""
    came: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        found = semaphore.acquire(timeout=PATIENCE_S)
        loop.call_soon_threadsafe(came.set_result, found)

    threading.Thread(target=wait).start()
    assert await came


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    made = LogFolder.make(tmp_path, 1)
    with closing(PartitionWriter(made.partition("segment-events", 0), segment_bytes=1 << 20)) as writer:
        writer.append([(b"ann", crossing(number)) for number in range(3)])
    return made


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldReads]:
    reads = HeldReads(monkeypatch)
    yield reads
    reads.may_go_on.set()


def use(folder: LogFolder, doing: Callable[[EmbeddedTransitionLog], Awaitable[None]]) -> None:
    async def run() -> None:
        log = EmbeddedTransitionLog(lambda: folder)
        await doing(log)
        await log.close()

    asyncio.run(run())


async def cancelled_read(feed: EmbeddedFeed, held: HeldReads) -> None:
    """In the middle."""
    reading = asyncio.create_task(feed.read(10, 1.0))
    await until(held.begun)
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()


@pytest.mark.parametrize("close_is_cancelled", [False, True])
def test_a_feed_that_is_closed_in_the_middle_of_a_read_keeps_no_file_open(
    folder: LogFolder, held: HeldReads, close_is_cancelled: bool
) -> None:
    async def doing(log: EmbeddedTransitionLog) -> None:
        await (await log.open()).close()
        await until(held.closed)
        before = open_files()
        feed = await log.open()
        await cancelled_read(feed, held)
        closing_feed = asyncio.create_task(feed.close())
        await asyncio.sleep(0)
        if close_is_cancelled:
            closing_feed.cancel()
        held.may_go_on.set()
        await until(held.ended)
        await asyncio.wait([closing_feed])
        await until(held.closed)  # nobody waits any more for a close that was cancelled
        assert open_files() == before

    use(folder, doing)


def test_a_read_that_was_cancelled_has_taken_nothing(folder: LogFolder, held: HeldReads) -> None:
    async def doing(log: EmbeddedTransitionLog) -> None:
        feed = await log.open()
        await cancelled_read(feed, held)
        held.may_go_on.set()
        await until(held.ended)
        assert await feed.read(10, 1.0) == [Crossing(0, number, crossing(number)) for number in range(3)]
        await feed.close()

    use(folder, doing)


def test_many_readers_leave_threads_to_others(folder: LogFolder, held: HeldReads) -> None:
    async def doing(log: EmbeddedTransitionLog) -> None:
        feeds = [await log.open() for _ in range(64)]
        reading = [asyncio.create_task(feed.read(10, 1.0)) for feed in feeds]
        await until(held.begun)
        async with asyncio.timeout(PATIENCE_S / 2):
            assert await asyncio.to_thread(lambda: "answered") == "answered"
        held.may_go_on.set()
        assert [len(found) for found in await asyncio.gather(*reading)] == [3] * 64
        for feed in feeds:
            await feed.close()

    use(folder, doing)
