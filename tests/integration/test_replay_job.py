"""A whole job in this process: what it says, what it refuses, and that a second start costs nothing."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from config.errors import InputError, StoreError, StoreIncompatible
from config.loader import loads
from streams.adapters.transition_file import TransitionFile
from streams.runtime import job as job_module
from streams.runtime.job import run_job
from streams.runtime.place import Place, erase_place, read_place
from streams.runtime.stored import read_state
from streams.runtime.summary import summarize
from streams.runtime.transition_log import latest_transitions, read_history, varied
from tests.integration.replay_world import folded
from tests.integration.shop_world import CATALOG, USERS, Notes, Shop

pytestmark = pytest.mark.timeout(300)  # the core may have to be compiled first


def test_every_record_is_accounted_for(shop: Shop) -> None:
    summary = shop.outcome.summary
    counters = summary.counters
    assert summary.rows == shop.rows
    assert summary.users == USERS
    assert counters["duplicates"] == 1
    assert counters["events"] + counters["duplicates"] + sum(summary.dead_letters.values()) == shop.rows
    assert summary.dead_letters == {
        "time_out_of_range": 2,
        "missing_user": 1,
        "too_deep": 1,
        "too_large": 1,
        "unknown_type": 1,
        "unreadable_json": 1,
    }


def test_transitions_of_file_summary_and_members_agree(shop: Shop) -> None:
    history = read_history(shop.job.transitions)
    assert history.total == shop.outcome.summary.transitions
    assert history.total > 500
    in_file = {name: len(users) for name, users in folded(shop.job.transitions).items()}
    assert in_file == {segment.id: segment.members for segment in shop.outcome.summary.segments if segment.members}
    entries = sum(sum(causes.values()) for weeks in history.entered.values() for causes in weeks.values())
    exits = sum(sum(weeks.values()) for weeks in history.exited.values())
    assert entries + exits == history.total


def test_the_summary_holds_together(shop: Shop) -> None:
    live, churn, rare = shop.outcome.summary.predictions
    assert (live.status, live.warmup, live.score_name) == ("live", None, "Score")
    assert (churn.score_name, churn.categories[2].name) == ("Churn Risk Score", "High risk")
    assert rare.status == "warming up"
    assert rare.warmup is not None
    assert rare.warmup.users_with_goal == 0
    assert sum(category.users for category in live.categories) == live.audience == USERS
    assert sum(bucket.users for bucket in live.buckets) == live.audience
    assert live.judged["events"].tideline.n > 0
    shares = [share for share, _ in live.judged["events"].lift]
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    for prediction in (live, churn):
        for category in prediction.categories:
            entries = category.entries
            for share in (entries.undone_within_day, entries.undone_within_week, entries.reached_goal_rate):
                assert share is None or 0.0 <= share <= 1.0


def test_what_is_stored_gives_the_same_summary(shop: Shop) -> None:
    with read_place(shop.job.place) as reader:
        assert summarize(read_state(reader)) == shop.outcome.summary


def test_a_complete_run_is_only_summed_up(shop: Shop) -> None:
    watcher = Notes()
    again = run_job(shop.job, watcher)
    assert again.was_complete
    assert (again.summary, again.resumed_at, watcher.begun) == (shop.outcome.summary, shop.rows, [])


def test_another_catalog_is_refused_with_what_differs(shop: Shop) -> None:
    changed = loads(CATALOG.replace("window: 3d", "window: 4d").replace("keen:", "eager:"))
    with pytest.raises(StoreIncompatible) as refused:
        run_job(dataclasses.replace(shop.job, catalog=changed), Notes())
    message = str(refused.value)
    assert "predictions.orders_3d.window: 3d, now 4d" in message
    assert "segments.keen: removed" in message
    assert "--fresh" in message
    assert "--data-dir" in message


def test_other_files_are_refused_with_what_differs(shop: Shop, tmp_path: Path) -> None:
    other = tmp_path / "other.ndjson"
    other.write_text(shop.job.files[0].read_text() + BAD_TAIL)
    with pytest.raises(StoreIncompatible, match=rf"other\.ndjson \({shop.rows + 1:,} rows\)"):
        run_job(dataclasses.replace(shop.job, files=(other,)), Notes())


def test_a_file_that_has_grown_is_told_with_what_to_do(shop: Shop, tmp_path: Path) -> None:
    grown = tmp_path / shop.job.files[0].name
    grown.write_text(shop.job.files[0].read_text() + BAD_TAIL)
    with pytest.raises(StoreIncompatible, match=rf"has grown from {shop.rows:,} to {shop.rows + 1:,} rows"):
        run_job(dataclasses.replace(shop.job, files=(grown,)), Notes())


def test_a_run_goes_on_with_a_file_behind_the_others(shop: Shop, tmp_path: Path) -> None:
    data, transitions, more = tmp_path / "data", tmp_path / "transitions.ndjson", tmp_path / "more.ndjson"
    shutil.copytree(shop.job.place.data_dir, data, ignore=shutil.ignore_patterns("*.sock"))
    shutil.copy(shop.job.transitions, transitions)
    event = {"type": "track", "userId": "u1", "event": "Viewed", "timestamp": "2024-05-01T00:00:00Z"}
    more.write_text(json.dumps(event) + "\n")
    job = dataclasses.replace(shop.job, place=Place(data), transitions=transitions, files=(*shop.job.files, more))
    watcher = Notes()
    outcome = run_job(job, watcher)
    assert (outcome.resumed_at, outcome.summary.rows) == (shop.rows, shop.rows + 1)
    assert watcher.begun == [(shop.rows, shop.rows + 1)]
    assert f"New since the last start: {more} (1 rows)." in watcher.notes
    assert run_job(job, watcher).was_complete
    assert transitions.read_bytes().startswith(shop.job.transitions.read_bytes())
    with pytest.raises(StoreIncompatible, match=r"more\.ndjson, which the run has read, is not among the files"):
        run_job(dataclasses.replace(job, files=shop.job.files), watcher)


def test_a_first_start_with_a_wrong_file_makes_nothing(shop: Shop, tmp_path: Path) -> None:
    empty = tmp_path / "empty.ndjson"
    empty.write_text("")
    data = tmp_path / "data"
    job = dataclasses.replace(shop.job, place=Place(data), transitions=data / "transitions.ndjson", files=(empty,))
    with pytest.raises(InputError, match="has no rows"):
        run_job(job, Notes())
    assert not data.exists()


def test_a_wrong_file_does_not_cost_the_store_that_fresh_would_erase(shop: Shop, tmp_path: Path) -> None:
    missing = dataclasses.replace(shop.job, fresh=True, files=(tmp_path / "none.ndjson",))
    with pytest.raises(InputError, match="No such file"):
        run_job(missing, Notes())
    assert run_job(shop.job, Notes()).was_complete


BAD_TAIL = "one more line\n"


def test_the_file_of_transitions_must_be_the_one_of_the_run(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty or missing"):
        run_job(dataclasses.replace(shop.job, transitions=tmp_path / "new.ndjson"), Notes())
    fresh = dataclasses.replace(shop.job, place=Place(tmp_path / "data"))
    with pytest.raises(InputError, match="another run"):
        run_job(fresh, Notes())
    assert not fresh.place.data_dir.exists()


def test_fresh_begins_anew_and_leaves_other_files_alone(shop: Shop, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(shop.job.place.data_dir, data, ignore=shutil.ignore_patterns("*.sock"))
    transitions = tmp_path / "transitions.ndjson"
    shutil.copy(shop.job.transitions, transitions)
    (data / "notes.txt").write_text("mine")
    job = dataclasses.replace(shop.job, place=Place(data), transitions=transitions, fresh=True)
    outcome = run_job(job, Notes())
    assert not outcome.was_complete
    assert outcome.resumed_at == 0
    assert outcome.summary == shop.outcome.summary
    assert (data / "notes.txt").read_text() == "mine"
    assert transitions.read_bytes() == shop.job.transitions.read_bytes()


def test_a_wrong_file_of_transitions_does_not_cost_the_store_that_fresh_would_erase(shop: Shop, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("my own words\n")
    with pytest.raises(InputError, match="no file of transitions"):
        run_job(dataclasses.replace(shop.job, fresh=True, transitions=notes), Notes())
    assert notes.read_text() == "my own words\n"
    assert run_job(shop.job, Notes()).was_complete


def test_fresh_takes_no_file_of_transitions_from_a_process_that_writes_it(shop: Shop) -> None:
    with closing(TransitionFile(shop.job.transitions)), pytest.raises(InputError, match="another process"):
        run_job(dataclasses.replace(shop.job, fresh=True), Notes())
    assert run_job(shop.job, Notes()).was_complete


def test_a_store_put_back_to_a_copy_doubles_no_transition_however_many_came_since(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few ids known by default, a whole half of the run is made again."""
    few = 100
    assert TransitionFile.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(TransitionFile.__init__.__kwdefaults__, "remembered_ids", few)
    monkeypatch.setattr(job_module, "REMEMBERED_IDS", few, raising=False)
    lines = shop.job.files[0].read_text().splitlines(keepends=True)
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    half = len(lines) * 2 // 3
    first.write_text("".join(lines[:half]))
    second.write_text("".join(lines[half:]))
    place, transitions = Place(tmp_path / "data"), tmp_path / "transitions.ndjson"
    limits = shop.job.catalog.limits.model_copy(update={"commit_transitions": 3 * few})
    catalog = shop.job.catalog.model_copy(update={"limits": limits})
    job = dataclasses.replace(shop.job, files=(first,), catalog=catalog, place=place, transitions=transitions)
    before = run_job(job, Notes()).summary.transitions or 0
    copy = tmp_path / "copy"
    shutil.copytree(place.data_dir, copy, ignore=shutil.ignore_patterns("*.sock"))
    both = dataclasses.replace(job, files=(first, second))
    run_job(both, Notes())
    once = transitions.read_bytes()
    assert once.count(b"\n") > before + 6 * few
    shutil.rmtree(place.data_dir)
    copy.rename(place.data_dir)
    run_job(both, Notes())
    assert transitions.read_bytes() == once


def test_fresh_deletes_nothing_that_is_not_ours(tmp_path: Path) -> None:
    foreign = tmp_path / "redis"
    (foreign / "appendonlydir").mkdir(parents=True)
    (foreign / "appendonlydir" / "appendonly.aof.1.base.rdb").write_text("somebody's")
    with pytest.raises(StoreError, match="did not start"):
        erase_place(Place(foreign))
    assert (foreign / "appendonlydir" / "appendonly.aof.1.base.rdb").exists()
    erase_place(Place(tmp_path / "nothing"))


def test_an_empty_place_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="tideline replay"), read_place(Place(tmp_path)):
        pass
    (tmp_path / "demo" / "appendonlydir").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"add --data-dir .*demo"), read_place(Place(tmp_path)):
        pass


def test_the_latest_transitions_are_varied(shop: Shop) -> None:
    latest = latest_transitions(shop.job.transitions, 300)
    times = [found.time for found in latest]
    assert times == sorted(times, reverse=True)
    chosen = varied(latest, 8)
    kinds = [(found.data.segment_id, found.data.in_segment) for found in chosen]
    assert 3 <= len(chosen) <= 8
    assert max(map(kinds.count, kinds)) <= 2


def test_while_warming_up_users_are_counted_by_the_percentile_that_is_their_score(shop: Shop) -> None:
    """`scale: probability` begins when the prediction is live; until then rank values are no logits."""
    with read_place(shop.job.place) as reader:
        state = read_state(reader)
    assert state.catalog.predictions["orders_3d"].scale == "percentile"
    by_probability = {
        name: prediction.model_copy(update={"scale": "probability"})
        for name, prediction in state.catalog.predictions.items()
    }
    catalog = state.catalog.model_copy(update={"predictions": by_probability})
    changed = summarize(dataclasses.replace(state, catalog=catalog)).predictions
    live, _, warming = (
        ([bucket.users for bucket in before.buckets], [bucket.users for bucket in after.buckets])
        for before, after in zip(summarize(state).predictions, changed, strict=True)
    )
    assert warming[0] == warming[1]
    assert live[0] != live[1]
    assert sum(live[0]) == sum(live[1])
