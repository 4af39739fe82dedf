"""What the auditor lets pass, and what it does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from models.snapshot import BINS, Snapshot
from tests.sim.auditor import Auditor
from tests.sim.books import Violation
from tests.sim.plan import draw_plan
from tests.sim.rules import rules_of
from tests.unit.test_snapshot import prediction


def model(version: int) -> bytes:
    return Snapshot(version, (prediction(version=version),), np.zeros((1, BINS), np.int64)).to_bytes()


def say_again(version: int, seen: Sequence[int]) -> None:
    """Worker that has read `seen` publishes a version once more, while the topic has a newer one by now."""
    auditor = Auditor({}, [], rules_of(draw_plan(0), {}))
    auditor.on_sent_again("q:orders", model(version), [model(each) for each in seen])


def test_the_newest_model_that_a_worker_has_read_may_be_published_again() -> None:
    """Which the topic has by then, nobody can know who has not read it."""
    say_again(3, [1, 3, 2])


@pytest.mark.parametrize(
    ("version", "seen", "words"),
    [
        (2, [1, 3, 2], "version 2 was published again, and is not the newest that was read, 3"),
        (4, [1, 3, 2], "version 4 was published again, and is not the newest that was read, 3"),
        (3, [1, 2, 3], "version 3 was published again, and nothing stood behind it"),
    ],
)
def test_no_other_one_may(version: int, seen: Sequence[int], words: str) -> None:
    with pytest.raises(Violation, match=words):
        say_again(version, seen)
