"""Six hours without campaigns, history that comes late, a store that is made anew: nobody is sent to for what is over.

On real servers, with what happened six hours ago as it stands in the log then: its time, and when the log took it.
The rows of the shop's files are mapped; what a service writes into its log is Segment JSON all the same.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from config.settings import Settings
from streams.adapters.log_folder import LogFolder
from streams.adapters.log_writer import PartitionWriter
from streams.adapters.redis_campaign_books import RedisCampaignBooks
from streams.campaigns.effects import SENT
from tests.integration.campaigns_world import (
    CATALOG,
    SENDS_WITHIN_S,
    CampaignsProcess,
    HookReceiver,
    enter,
    event,
    notes,
    served,
    set_hook,
)
from tests.integration.worker_world import WorkerProcess, await_until

OUTAGE_S = 6 * 3_600.0
"""A message goes out within `max_trigger_age` of the crossing, which is 4 h."""
MAPPED = CATALOG.replace(
    "predictions:", "input: {format: ndjson, user: customer, event: what, time: at}\npredictions:", 1
)
BEFORE, NOW, LATE = ["ann", "bo"], ["cy", "di"], ["ed", "flo"]


def entered_long_ago(data_dir: Path, users: Sequence[str], *, came_at_once: bool) -> None:
    """They came into the segment six hours ago, and the log took it then, or has just done so."""
    then_s = time.time() - OUTAGE_S
    folder = LogFolder.find(data_dir).partition("events", 0)
    with closing(PartitionWriter(folder, clock_s=(lambda: then_s) if came_at_once else time.time)) as writer:
        writer.append([(user.encode(), event(user, "Enter", at_s=then_s)) for user in users])


def decided(settings: Settings) -> dict[str, int]:
    """What became of occasions of the campaign, as it is stored."""
    assert settings.redis_url is not None
    with closing(RedisCampaignBooks(settings.redis_url)) as books:
        return {what: n for book in books.books_of("welcome") for what, n in book.counts.items()}  # of one partition


def dead_letters(worker: WorkerProcess) -> list[str]:
    """Reasons for which the worker could not use records."""
    status, page = worker.get("/metrics")
    assert status == 200
    assert b"# TYPE tideline_dead_letters_total" in page
    return re.findall(r"tideline_dead_letters_total\{.*", page.decode())


@pytest.mark.timeout(180)
def test_after_an_outage_late_history_and_a_rebuild_nobody_is_sent_to_for_a_stale_crossing(tmp_path: Path) -> None:
    with HookReceiver() as receiver:
        with served(tmp_path, MAPPED, shards=1) as (settings, worker):
            set_hook(str(settings.redis_url), receiver.url)
            # An outage of six hours: all of this has happened while nobody ran campaigns.
            entered_long_ago(tmp_path, BEFORE, came_at_once=True)
            enter(tmp_path, NOW)
            _run_campaigns(settings, tmp_path, receiver, stale=len(BEFORE))
            # History that is sent behind it: events come now that are six hours old.
            entered_long_ago(tmp_path, LATE, came_at_once=False)
            _run_campaigns(settings, tmp_path, receiver, stale=len(BEFORE + LATE))
            ids = receiver.ids()
            assert {user: len(own) for user, own in ids.items()} == dict.fromkeys(NOW, 1)
            assert notes(tmp_path) == [(user, SENT) for user in NOW]
            assert dead_letters(worker) == [], "of the notes, too"
        # A store that is made anew reads the log from its beginning: all of it happens again.
        with served(tmp_path, MAPPED, shards=1, store="another") as (settings, _):
            set_hook(str(settings.redis_url), receiver.url)
            _run_campaigns(settings, tmp_path, receiver, stale=len(BEFORE + LATE), times=2)
    assert receiver.ids() == ids, "what is repeated has its id, by which the receiver knows it"
    assert set(receiver.users()) == set(NOW)


def _run_campaigns(settings: Settings, data_dir: Path, receiver: HookReceiver, *, stale: int, times: int = 1) -> None:
    """Until the fresh messages have come, each so many times by now, and everything is decided."""
    wanted = {"sent": len(NOW), "stale": stale}
    process = CampaignsProcess(settings, data_dir, "campaigns", data_dir=data_dir)
    try:
        receiver.wait(lambda: all(receiver.users().count(user) >= times for user in NOW), SENDS_WITHIN_S)
        await_until(lambda: decided(settings) == wanted, f"decided: {wanted}", seconds=60.0, watched=[process])
        process.stop()
    finally:
        process.kill()
