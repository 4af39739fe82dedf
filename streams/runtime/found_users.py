"""Users whose ids begin in some way: a bounded pass over the ids of all shards."""

from __future__ import annotations

import re
from collections.abc import Callable

from streams.adapters.redis_reader import RedisReader

_GLOB = re.compile(r"([\\*?\[\]^])")


def users_like(
    reader: RedisReader, prefix: str, limit: int, check: Callable[[], None] = lambda: None
) -> tuple[list[str], bool]:
    """At most `limit` users whose id is `prefix` or begins with it, the very one first; and whether these are all.

    `check` is called before each page, to raise where this takes too long. Raises StoreUnavailable.
    """
    found: dict[str, None] = {}
    if reader.row(prefix) is not None:
        found[prefix] = None
    pattern = _GLOB.sub(r"\\\1", prefix) + "*"
    for shard in range(reader.info.shards):
        for page in reader.ids_like(shard, pattern):
            check()
            found.update(dict.fromkeys(page))
            if len(found) > limit:
                return list(found)[:limit], False
    return list(found), True
