"""schemathesis tries the running API out by its own document, and finds nothing wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks._ports import free_port
from config.settings import load_settings
from streams.api.keys import Role
from streams.runtime.place import join_place
from tests.conftest import SLOWNESS
from tests.integration.api_process import ApiProcess
from tests.integration.shop_world import Shop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_000)]
SEED, EXAMPLES = 20_261_122, 8


def test_the_api_is_as_its_document_says(own_shop: Shop, tmp_path: Path) -> None:
    port = free_port()
    with join_place(own_shop.job.place) as url:
        settings = load_settings(redis_url=url, data_dir=tmp_path)
        with ApiProcess(settings, tmp_path, port) as api:
            config = Path(__file__).with_name("schemathesis.toml")
            command = [
                sys.executable,
                "-m",
                "schemathesis.cli",
                "--config-file",
                str(config),
                "run",
                f"{api.url}/openapi.json",
                "--no-color",
                "--workers",
                "1",  # it parses its own source, which two threads of Python 3.11 cannot do at the same time
            ]
            command += ["--phases", "examples,coverage,fuzzing", "--checks", "all"]
            command += ["--exclude-path", "/v1/stream"]  # it has no end; tests/unit/test_api_stream.py
            command += ["--header", f"Authorization: Bearer {api.keys[Role.ADMIN]}"]
            command += ["--seed", str(SEED), "--max-examples", str(EXAMPLES), "--generation-database", "none"]
            limit_s = 900 * SLOWNESS
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=limit_s, check=False)
            words = api.words()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in words
