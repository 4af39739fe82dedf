"""The `tideline` command line."""
