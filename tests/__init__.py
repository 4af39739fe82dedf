"""Tests; `reference/` is the core written a second time."""
