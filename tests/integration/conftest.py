"""A shop's events through the whole path, once for all tests that only look at the result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.shop_world import Shop, run_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return run_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
