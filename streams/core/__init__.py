"""The pure core of a shard: inputs in, effects out; no clock, no socket, no randomness."""
