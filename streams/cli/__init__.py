"""The `tideline` command line.

`app` puts the commands together, one module for each group of them. What they do is in `streams.runtime`; here is
only what a terminal needs: options, tables, a progress bar, messages. Heavy imports stand inside the commands, so
that `tideline --help` is there at once.
"""
