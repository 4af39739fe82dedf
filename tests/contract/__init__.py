"""Suites that every adapter of a port, and every model, passes unchanged."""
