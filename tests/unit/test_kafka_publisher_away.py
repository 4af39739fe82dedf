"""A Kafka that is not there, and the publisher: it says so, and leaves nothing open behind."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings

import pytest

from config.errors import BrokerUnavailable
from config.settings import load_settings
from streams.adapters.kafka_publisher import KafkaPublisher
from streams.ports import Message


def test_a_producer_that_could_not_start_is_closed() -> None:
    told: list[str] = []

    async def publish() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["message"])))
        publisher = KafkaPublisher(load_settings(kafka_bootstrap_servers="127.0.0.1:1"))
        with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1 does not answer"):
            await asyncio.to_thread(publisher.send, [Message("dead-letters", "", b"x")])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the client tells the loop as well
            gc.collect()
        await publisher.aclose()

    asyncio.run(publish())
    assert told == []


def test_one_that_could_not_publish_long_ago_says_nothing_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs share the publisher; each is patient by itself."""
    now_s = time.monotonic()

    async def publish() -> None:
        publisher = KafkaPublisher(load_settings(kafka_bootstrap_servers="127.0.0.1:1"))
        for later_s in (0.0, 600.0):
            monkeypatch.setattr(time, "monotonic", lambda later_s=later_s: now_s + later_s)
            with pytest.raises(BrokerUnavailable):
                await asyncio.to_thread(publisher.send, [Message("dead-letters", "", b"x")])
        await publisher.aclose()

    asyncio.run(publish())
