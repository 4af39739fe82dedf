"""Requests that nobody waits for any more, and that fail."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest
from aiokafka.errors import NotCoordinatorForGroupError

from streams.runtime.kafka.worker import tell_left_errors


def leave_behind(error: Exception) -> None:
    """Stop waiting for a request that fails with this, as our consumer does when a commit takes too long."""

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(tell_left_errors)
        may_fail = asyncio.Event()

        async def request() -> None:
            await may_fail.wait()
            raise error

        asked = asyncio.create_task(request())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.shield(asked)
        may_fail.set()
        await asyncio.wait([asked])
        del asked
        gc.collect()

    asyncio.run(main())


def test_a_request_of_the_client_that_was_given_up_fails_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    leave_behind(NotCoordinatorForGroupError())
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    assert told.exc_info is None
    assert "NotCoordinatorForGroupError" in told.getMessage()


def test_everything_else_that_nobody_took_note_of_is_told_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    leave_behind(ZeroDivisionError("ours"))
    (told,) = caplog.records
    assert told.levelno == logging.ERROR
    assert told.exc_info is not None
