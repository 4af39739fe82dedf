"""The core of a shard written a second time: one event at a time, plain dictionaries, river's own models.

docs/core.md is what it was written from. Nothing here is shared with the kernel but the types of the catalog and of
the events, and river's classes.
It is slow and meant to be read; property tests hold the fast shard against it.
"""
