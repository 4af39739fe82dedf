"""The names of all keys in Redis. `docs/redis.md` describes what they hold; a change here is a new `ports.FORMAT`.

All keys of a shard carry the shard's number as hash tag, so that Redis Cluster keeps them on one node
and one transaction can write them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from streams.campaigns.ports import queue_order

LEARNERS: Final = ":learn"
"""What the key prefix of the learners of workers ends with: they have a store of their own."""
_LOT_CHARACTERS: Final = len(queue_order("", "", 0.0)[1])
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def store_meta(prefix: str) -> bytes:
    """The key that says what the store was made for. Raises ValueError for a prefix that cannot be one."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"key prefix {prefix!r}: 1 to 64 letters, digits and any of _ . : - are allowed")
    return f"{prefix}:meta".encode()


def api_key(prefix: str, name: str) -> bytes:
    """A key of the API's own, which belongs to no shard. Raises ValueError for a bad prefix."""
    store_meta(prefix)
    return f"{prefix}:api:{name}".encode()


def definitions_key(prefix: str, name: str) -> bytes:
    """A key of what is defined through the API; one hash tag for all of them. Raises ValueError for a bad prefix."""
    store_meta(prefix)
    return f"{prefix}:{{definitions}}:{name}".encode()


def campaign_definitions_key(prefix: str, name: str) -> bytes:
    """A key of campaigns and journeys as they are defined; one hash tag for all. Raises ValueError for a bad prefix."""
    store_meta(prefix)
    return f"{prefix}:campaigns:{{definitions}}:{name}".encode()


def past_key(prefix: str) -> bytes:
    """Where workers tell how far they are with learning from the log. Raises ValueError for a bad prefix."""
    store_meta(prefix)
    return f"{prefix}:past".encode()


@dataclass(frozen=True, slots=True)
class PastKeys:
    """The keys of what several workers share while one of them reads the past; all but parts have one hash tag."""

    now: bytes
    holder: bytes
    offer: bytes
    failed: bytes
    base: bytes

    def part(self, offer: str, name: str, number: int) -> bytes:
        """A part of what was read: any node of a cluster may have it."""
        return b"%b%b:%b:%d" % (self.base, offer.encode(), name.encode(), number)


def past_keys(prefix: str) -> PastKeys:
    """The keys of what workers share of the past. Raises ValueError for a bad prefix."""
    tagged = f"{prefix}:{{past}}:".encode()
    now, holder, offer, failed = (tagged + name for name in (b"now", b"holder", b"offer", b"failed"))
    return PastKeys(now, holder, offer, failed, past_key(prefix) + b":")


@dataclass(frozen=True, slots=True)
class HookKeys:
    """The keys of deliveries. All have one hash tag, so that each step of an endpoint is one transaction."""

    base: bytes
    owner: bytes
    version: bytes
    endpoints: bytes
    secrets: bytes
    progress: bytes
    asked: bytes

    def of(self, name: str, endpoint: str) -> bytes:
        """What one endpoint has: `waiting`, `dead`, `redriven`, `recent`, `listed`."""
        return b"%b%b:%b" % (self.base, name.encode(), endpoint.encode())


@dataclass(frozen=True, slots=True)
class ShardKeys:
    """The keys of one shard."""

    meta: bytes
    state: bytes
    rows: bytes
    remember: bytes
    deleted: bytes
    outbox: bytes
    messages: bytes
    dead: bytes
    appended_names: bytes
    wait: bytes
    staging: bytes
    """What is put aside to replace the shard's state: the names of its keys below `base`, and how many parts came."""
    base: bytes

    def scores(self, prediction: str) -> bytes:
        return b"%bscores:%b" % (self.base, prediction.encode())

    def index(self, prediction: str) -> bytes:
        return b"%bindex:%b" % (self.base, prediction.encode())

    def members(self, segment: str) -> bytes:
        return b"%bmembers:%b" % (self.base, segment.encode())

    def appended(self, name: str) -> bytes:
        """The key of an appended name (`pending:12`); `ports.check_batch` keeps it from meeting another kind of key."""
        return self.base + name.encode()

    @property
    def staged(self) -> ShardKeys:
        """The keys of what is put aside."""
        return _keys_below(self.base + b"staged:")

    def suffix(self, key: bytes) -> bytes:
        """What stands behind `base` in a key of the shard."""
        return key.removeprefix(self.base)


def shard_keys(prefix: str, shard: int) -> ShardKeys:
    """The keys of shard number `shard`. Raises ValueError for a bad prefix."""
    store_meta(prefix)
    return _keys_below(f"{prefix}:{{{shard}}}:".encode())


def _keys_below(base: bytes) -> ShardKeys:
    return ShardKeys(
        meta=base + b"meta",
        state=base + b"state",
        rows=base + b"rows",
        remember=base + b"remember",
        deleted=base + b"deleted",
        outbox=base + b"outbox",
        messages=base + b"messages",
        dead=base + b"dead",
        appended_names=base + b"appended",
        wait=base + b"wait",
        staging=base + b"staging",
        base=base,
    )


def hook_keys(prefix: str) -> HookKeys:
    """The keys of deliveries. Raises ValueError for a bad prefix."""
    base = api_key(prefix, "{hooks}:")
    names = ("owner", "version", "endpoints", "secrets", "progress", "asked")
    return HookKeys(base, *(base + name.encode() for name in names))


@dataclass(frozen=True, slots=True)
class CampaignKeys:
    """The keys of one partition of campaigns, with the hash tag of its shard; `--fresh` does not touch them."""

    base: bytes
    meta: bytes
    rows: bytes
    profiles: bytes
    due: bytes
    queued: bytes
    books: bytes
    outbox: bytes
    wait: bytes
    read: bytes

    def queue(self, campaign: str) -> bytes:
        """Who waits for the rate of a campaign."""
        return b"%bqueue:%b" % (self.base, campaign.encode())


def campaign_keys(prefix: str, partition: int) -> CampaignKeys:
    """The keys of partition number `partition`. Raises ValueError for a bad prefix."""
    store_meta(prefix)
    base = f"{prefix}:campaigns:{{{partition}}}:".encode()
    names = ("meta", "rows", "profiles", "due", "queued", "books", "outbox", "wait", "read")
    return CampaignKeys(base, *(base + name.encode() for name in names))


def member_of_queue(campaign: str, user: str) -> str:
    """A user in a queue: of those who wait since the same time, Redis has the smaller member first (`queue_order`)."""
    return queue_order(campaign, user, 0.0)[1] + user


def user_in_queue(member: str) -> str:
    """The user of a member."""
    return member[_LOT_CHARACTERS:]


@dataclass(frozen=True, slots=True)
class SharedCampaignKeys:
    """The keys of what all partitions of campaigns share; they have one hash tag."""

    epochs: bytes
    alerts: bytes
    base: bytes

    def grant(self, resource: str) -> bytes:
        """What was granted of a budget, a rate, or the volume of an hour."""
        return b"%bgrant:%b" % (self.base, resource.encode())


def shared_campaign_keys(prefix: str) -> SharedCampaignKeys:
    """Raises ValueError for a bad prefix."""
    store_meta(prefix)
    base = f"{prefix}:campaigns:{{shared}}:".encode()
    return SharedCampaignKeys(base + b"epochs", base + b"alerts", base)


@dataclass(frozen=True, slots=True)
class DeskKeys:
    """The keys of what channels of campaigns have taken in; one hash tag, so that a step is one transaction."""

    base: bytes
    owner: bytes
    taken: bytes
    version: bytes
    settings: bytes
    secrets: bytes

    def of(self, name: str, channel: str) -> bytes:
        """What one channel has: `waiting`, `asked`, `ids`, `dead`, `unknown`."""
        return b"%b%b:%b" % (self.base, name.encode(), channel.encode())


def desk_keys(prefix: str) -> DeskKeys:
    """The keys of channels. Raises ValueError for a bad prefix."""
    store_meta(prefix)
    base = f"{prefix}:campaigns:{{desks}}:".encode()
    names = ("owner", "taken", "version", "settings", "secrets")
    return DeskKeys(base, *(base + name.encode() for name in names))
