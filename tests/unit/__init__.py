"""One part at a time, without servers."""
