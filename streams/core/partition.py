"""Which shard a user belongs to: the hash with which Kafka's Java client (and aiokafka) cuts topics by key."""

from __future__ import annotations

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2 of `data`, 32 bit, unsigned, with the seed of Kafka's clients.

    Source: `org.apache.kafka.common.utils.Utils.murmur2`, which is Austin Appleby's MurmurHash2.
    """
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if length > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def shard_of(user: str, shards: int) -> int:
    """The user's shard in [0, shards): `toPositive(murmur2(utf8)) % shards`, as Java's default partitioner does.

    Raises ValueError if `shards` is not positive.
    """
    if shards < 1:
        raise ValueError(f"the number of shards must be at least 1, not {shards}")
    if shards == 1:
        return 0
    return (murmur2(user.encode()) & 0x7FFFFFFF) % shards
