"""What all tests share: the policy about things that a machine may not have.

A test that needs a server, a tool or data asks `need`. Where CI is set a missing one is a failure, because a suite that
quietly leaves tests out proves nothing; on a person's machine the test is skipped and the reason is shown (`-ra`).
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from streams.runtime.allocation import return_large_blocks

if TYPE_CHECKING:
    from tests.integration.kafka_world import KafkaWorld

# Two busy cores make any deadline a coin toss. In CI examples are the same every time, so that landing is no matter of
# luck; elsewhere every run tries new ones, and what fails is printed in a form that can be run again.
settings.register_profile(
    "tideline", settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None, print_blob=True
)
settings.load_profile("tideline")
if os.environ.get("CI"):
    # It draws numbers and words of imported modules, too: a change of any of them would change all examples.
    providers.is_local_module_file = lru_cache(lambda _path: False)  # type: ignore[attr-defined]

# A shell that starts a run in the background lets it ignore Ctrl-C, and so would every program that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

return_large_blocks()  # hundreds of shards come and go here

ROOT = Path(__file__).resolve().parent.parent
SLOWNESS = 3.0 if os.environ.get("CI") else 1.0
"""CI may run on a machine that is so many times slower, and busy: what tests wait for may take so much longer there."""


def examples(count: int) -> int:
    """How many of them Hypothesis tries of what takes long: half in CI, where they are the same ones every time."""
    return count // 2 if os.environ.get("CI") else count


def missing(what: str, how_to_get: str) -> NoReturn:
    """Fail (CI) or skip (elsewhere) because something that the test needs is not here."""
    reason = f"{what} is missing: {how_to_get}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need(present: object, what: str, how_to_get: str) -> None:
    """Go on only if `present` is true; else as in `missing`."""
    if not present:
        missing(what, how_to_get)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests first: processes share the files (`--dist loadscope`), and short ones end together.

    What a test may take at most is written for a machine of today that has nothing else to do.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    usual_s = float(config.getini("timeout"))
    for item in items:
        mark = item.get_closest_marker("timeout")
        limit_s = usual_s if mark is None else float(mark.args[0])
        item.add_marker(pytest.mark.timeout(SLOWNESS * limit_s), append=False)


def pytest_collection_finish() -> None:
    """Thousands of tests and all modules are here to stay: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the person who runs it."""
    for name in list(os.environ):
        if name.upper().startswith("TIDELINE_") and not name.upper().startswith("TIDELINE_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def kafka_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaWorld]:
    """One real Kafka for all tests that only use topics of their own."""
    from tests.integration.kafka_world import start_world  # it imports this module, and needs more than most tests do

    world = start_world(tmp_path_factory.mktemp("kafka"))
    yield world
    if world.server is not None:
        world.server.stop()


@pytest.fixture(scope="session")
def shared_data(root: Path) -> Path:
    """The folder of public data sets beside the repository that are not part of it."""
    folder = root.parent / "shared" / "data"
    # Not `need`: a clone without this folder is complete; what is committed (CDNOW) has its own tests.
    if not folder.is_dir():
        pytest.skip("the folder of shared data is not beside the repository")
    return folder
