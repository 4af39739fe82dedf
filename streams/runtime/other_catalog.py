"""Why a worker cannot go on in a store that was made with another catalog, for people."""

from __future__ import annotations

from contextlib import closing

from config.catalog import Catalog
from streams.adapters.redis_reader import RedisReader, holds_store
from streams.runtime.about import CATALOG_BLOB, catalog_differences, stored_catalog
from streams.runtime.place import Place


def words_about_catalog(url: str, place: Place, catalog: Catalog) -> str | None:
    """What differs, and what to do; None where nothing does, or the store does not say which catalog it had.

    `url`: of the server of `place`. Raises StoreUnavailable, StoreIncompatible (another version wrote it).
    """
    if not holds_store(url, prefix=place.prefix):
        return None
    with closing(RedisReader(url, prefix=place.prefix)) as reader:
        found = (reader.blobs(shard) for shard in range(reader.info.shards))
        blobs = next((blobs for blobs in found if CATALOG_BLOB in blobs), None)  # with each shard's first commit
    if blobs is None:
        return None
    old = stored_catalog(blobs)
    lines = catalog_differences(old, catalog)
    if not lines:
        return None
    return "\n".join(
        [
            f"{place.name} holds the state of another catalog ({old.name!r}). What differs:",
            *(f"  {line}" for line in lines),
            "Scores and labels of the two cannot be mixed:",
            "  - to go on, give the catalog that the store was made with",
            "  - to begin anew beside it with the events that are still there, choose another TIDELINE_KEY_PREFIX",
        ]
    )
