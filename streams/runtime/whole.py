"""Whether what a store gives back is whole: a shard that has commits has a state, and only such a one."""

from __future__ import annotations

from config.errors import StoreIncompatible
from streams.ports import Claim, Loaded


def check_whole(claim: Claim, loaded: Loaded) -> None:
    """Raises StoreIncompatible for commits without a state, and for a state without a commit.

    Going on would score everybody from nothing, at a position that stands far behind.
    """
    if bool(loaded.blobs) == bool(claim.number):
        return
    what = (
        f"its last commit is number {claim.number:,}, but the state that goes with it is gone"
        if claim.number
        else "it has a state, but no commit that it belongs to"
    )
    raise StoreIncompatible(
        f"the store holds only a part of shard {claim.shard}: {what}. Keys were deleted by hand, by a server that "
        "evicts (its maxmemory-policy must be noeviction), or by a --fresh that was interrupted. Put a whole copy of "
        "the store back, or begin anew: a replay with --fresh, workers with another TIDELINE_KEY_PREFIX"
    )
