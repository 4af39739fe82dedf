"""Channels: how messages of campaigns leave. `parcel.Channel` is the port; one file for each kind.

All of them pass one contract suite (`tests/contract/test_channels.py`) against servers on this machine.
"""
