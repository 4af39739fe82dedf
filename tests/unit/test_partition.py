"""The shard of a user is the partition to which Kafka's clients send the key."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.core.partition import murmur2, shard_of


def murmur2_of(module: str) -> Callable[[bytes], int]:
    """The client's own function; importing kafka-python warns about how it reads its schemas."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        function: Callable[[bytes], int] = importlib.import_module(module).murmur2
    return function


aiokafka_murmur2 = murmur2_of("aiokafka.partitioner")
kafka_python_murmur2 = murmur2_of("kafka.partitioner.default")

# From the tests of Kafka's Java client (UtilsTest.testMurmur2), as signed 32-bit integers.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "signed"), JAVA.items())
def test_murmur2_gives_the_numbers_of_the_java_client(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed % 2**32


@given(st.binary(max_size=70))
@example(b"")
@example(bytes(range(256)))
def test_murmur2_equals_both_python_clients(data: bytes) -> None:
    assert murmur2(data) == kafka_python_murmur2(data) & 0xFFFFFFFF == aiokafka_murmur2(data) & 0xFFFFFFFF


@given(st.text(max_size=40), st.integers(1, 4096))
def test_a_user_has_one_shard_below_the_number_of_shards(user: str, shards: int) -> None:
    shard = shard_of(user, shards)
    assert 0 <= shard < shards
    assert shard == (kafka_python_murmur2(user.encode()) & 0x7FFFFFFF) % shards


def test_no_shards_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        shard_of("a", 0)
