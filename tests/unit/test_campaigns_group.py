"""What a member of the group of campaigns fails by ends the process: Kafka's client would log it and go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from config.errors import BrokerUnavailable
from config.settings import load_settings
from streams.runtime.campaigns.group import KafkaOwning, _Listener
from streams.runtime.campaigns.partitions import Partitions


class FailingPartitions:
    """Cannot leave what is worked."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def let_go(self, _: Iterable[int]) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "told"),
    [(LookupError("nobody has thought of it"), LookupError), (IllegalStateError("no"), BrokerUnavailable)],
)
def test_whatever_comes_is_told_and_raised(error: Exception, told: type[Exception]) -> None:
    failures: list[BaseException] = []

    async def revoke() -> None:
        owning = KafkaOwning(load_settings(), failures.append)
        owning.partitions = cast("Partitions", FailingPartitions(error))
        await _Listener(owning).on_partitions_revoked([TopicPartition("events", 0)])

    with pytest.raises(type(error)):
        asyncio.run(revoke())
    assert [type(each) for each in failures] == [told]
