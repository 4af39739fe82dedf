"""Prometheus' rules: read by its own tool, fired by what they are for, quiet without it, each with what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from tests.conftest import ROOT, need
from tests.unit.test_metrics_page import described

RULES = ROOT / "config/prometheus/rules/tideline.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALL = [rule for group in GROUPS for rule in group["rules"]]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in ALL if "alert" in rule}
RECORDED = {rule["record"] for rule in ALL if "record" in rule}

Values: TypeAlias = tuple[float, float] | str
"""Of a series, for three hours: a value and its growth per minute, or as promtool has it."""

# A service that is well.
WELL: Mapping[str, Values] = {
    'up{job="tideline-worker",instance="w"}': (1, 0),
    'up{job="tideline-worker",instance="v"}': (1, 0),
    'up{job="tideline-api",instance="x"}': (1, 0),
    'up{job="tideline-deliver",instance="a"}': (1, 0),
    'up{job="tideline-campaigns",instance="a"}': (1, 0),
    'tideline_shards{instance="v"}': (2, 0),
    'tideline_shards{instance="w"}': (2, 0),
    'tideline_lag_records{partition="0"}': (20_000, 0),
    'tideline_lag_records{partition="1"}': (5, 0),
    'tideline_lag_seconds{partition="0"}': (60, 0),
    'tideline_lag_seconds{partition="1"}': (0, 0),
    'tideline_commits_total{partition="0"}': (0, 60),
    'tideline_commits_total{partition="1"}': (0, 60),
    'tideline_records_total{partition="0"}': (0, 6_000),
    'tideline_events_total{partition="0",result="accepted"}': (0, 6_000),
    'tideline_dead_letters_total{partition="0",reason="unreadable_json"}': (0, 6),
    'tideline_moved_back_events_total{partition="0"}': (0, 6),
    'tideline_learner_lag_chunks{partition="0"}': (50, 0),
    'tideline_chunks_of_other_stores_total{partition="0"}': (9, 0),
    'tideline_dropped_examples_total{partition="0"}': (7, 0),
    "tideline_models_refused_total": (1, 0),
    'tideline_store_set_backs_total{partition="0"}': (1, 0),
    'tideline_api_requests_total{status="2xx"}': (0, 600),
    'tideline_api_requests_total{status="5xx"}': (0, 1),
    'tideline_webhooks_owner{instance="a"}': (1, 0),
    'tideline_webhooks_owner{instance="b"}': (0, 0),
    "tideline_webhooks_waiting": (2_000, -1),
    "tideline_webhooks_open_circuits": (0, 0),
    "tideline_webhooks_dead_total": (3, 0),
    "tideline_webhooks_missed_total": (3, 0),
    "tideline_webhooks_delivered_total": (0, 60),
    "tideline_webhooks_failed_total": (0, 6),
    'tideline_outbox_age_seconds{partition="0"}': (1, 0),
    'tideline_chunks_total{partition="0"}': (0, 1),
    'tideline_model_age_seconds{prediction="p",instance="a"}': (3_600, 0),
    'tideline_model_age_seconds{prediction="p",instance="b"}': (90_000, 0),
    'tideline_prediction_learns{prediction="p",instance="a"}': (1, 0),
    'tideline_prediction_learns{prediction="p",instance="b"}': (0, 0),
    'tideline_prediction_learns{prediction="q",instance="a"}': (1, 0),
    'tideline_prediction_learns{prediction="frozen",instance="a"}': (0, 0),
    'tideline_prediction_learns{prediction="frozen",instance="b"}': (0, 0),
    'tideline_model_age_seconds{prediction="frozen",instance="a"}': (90_000, 60),
    'tideline_quality_expected_over_observed{prediction="frozen"}': (2, 0),
    'tideline_quality_goals{prediction="frozen"}': (900, 0),
    'tideline_likelihood_drift{prediction="frozen",since="day"}': (2, 0),
    'tideline_population_users{prediction="frozen",category="low",instance="a"}': (9_000, 0),
    'tideline_shard_model_age_seconds{prediction="p",partition="0"}': (3_600, 0),
    'tideline_shard_model_age_seconds{prediction="p",partition="1"}': (3_700, 0),
    'tideline_quality_expected_over_observed{prediction="p"}': (1.1, 0),
    'tideline_quality_goals{prediction="p"}': (400, 0),
    'tideline_quality_expected_over_observed{prediction="q"}': (2, 0),
    'tideline_quality_goals{prediction="q"}': (30, 0),
    'tideline_likelihood_drift{prediction="p",since="day"}': (0.1, 0),
    'tideline_likelihood_drift{prediction="p",since="live"}': (2, 0),
    'tideline_likelihood_drift{prediction="q",since="day"}': (2, 0),
    'tideline_population_users{prediction="p",category="low",instance="a"}': (300, 0),
    'tideline_population_users{prediction="p",category="high",instance="b"}': (900, 0),
    'tideline_population_users{prediction="q",category="low",instance="a"}': (900, 0),
    'tideline_client_errors_total{client="redis",error="StoreUnavailable"}': (0, 3),
    'process_resident_memory_bytes{job="tideline-worker",instance="w"}': (800, 0),
    'tideline_memory_limit_bytes{job="tideline-worker",instance="w"}': (1_000, 0),
    "tideline_store_promise": (1, 0),
    'tideline_store_unwritten{server="r"}': (0, 0),
    'tideline_store_memory_bytes{server="r"}': (70, 0),
    'tideline_store_memory_limit_bytes{server="r"}': (100, 0),
    'tideline_campaign_behind_seconds{partition="0"}': (2, 0),
    'tideline_campaign_outbox{partition="0"}': (0, 0),
    'tideline_campaign_owner{instance="a"}': (1, 0),
    'tideline_campaign_owner{instance="b"}': (0, 0),
    'tideline_campaign_open_circuit{channel="mail"}': (0, 0),
    "tideline_campaign_troubles": (0, 0),
    "tideline_campaign_channels_lacking": (0, 0),
    'process_open_fds{job="tideline-api"}': (100, 0),
    'process_max_fds{job="tideline-api"}': (1_000, 0),
}
# Of each alert, the one fault that it is for.
FAULTS: dict[str, Mapping[str, Values]] = {
    "TidelineDown": {'up{job="tideline-api",instance="x"}': (0, 0)},
    "TidelineFewerProcesses": {'up{job="tideline-worker",instance="v"}': "1x140"},
    "TidelinePartitionsIdle": {'tideline_lag_records{partition="1"}': "5x140"},
    "TidelineEventsWait": {'tideline_lag_seconds{partition="1"}': (0, 60)},
    "TidelineLagGrowing": {'tideline_lag_records{partition="0"}': (20_000, 100)},
    "TidelineNoCommits": {'tideline_commits_total{partition="1"}': (900, 0)},
    "TidelineLearnerStale": {'tideline_learner_lag_chunks{partition="1"}': (60, 0)},
    "TidelineModelsOld": {'tideline_model_age_seconds{prediction="p",instance="a"}': (20_000, 60)},
    "TidelineShardModelOld": {'tideline_shard_model_age_seconds{prediction="p",partition="1"}': (3_600, 60)},
    "TidelineStoresMixed": {'tideline_chunks_of_other_stores_total{partition="0"}': (9, 0.02)},
    "TidelineOutboxStuck": {'tideline_outbox_age_seconds{partition="1"}': (0, 60)},
    "TidelineCalibrationOff": {'tideline_quality_expected_over_observed{prediction="p"}': (0.7, 0)},
    "TidelineDrift": {'tideline_likelihood_drift{prediction="p",since="day"}': (0.3, 0)},
    "TidelineClientErrors": {'tideline_client_errors_total{client="kafka",error="BrokerUnavailable"}': (0, 30)},
    "TidelineMemoryShort": {'process_resident_memory_bytes{job="tideline-worker",instance="w"}': (950, 0)},
    "TidelineDeadLetters": {'tideline_dead_letters_total{partition="0",reason="wrong_partition"}': (0, 600)},
    "TidelineClocksDiffer": {'tideline_moved_back_events_total{partition="0"}': (0, 90)},
    "TidelineExamplesDropped": {'tideline_dropped_examples_total{partition="0"}': (0, 1)},
    "TidelineModelsRefused": {"tideline_models_refused_total": (0, 1)},
    "TidelineStoreSetBack": {'tideline_store_set_backs_total{partition="0"}': (0, 1)},
    "TidelineStoreNotPersistent": {"tideline_store_promise": (0, 0)},
    "TidelineStoreFull": {'tideline_store_memory_bytes{server="r"}': (85, 0)},
    "TidelineApiErrors": {'tideline_api_requests_total{status="5xx"}': (0, 60)},
    "TidelineNobodyDelivers": {'tideline_webhooks_owner{instance="a"}': (0, 0)},
    "TidelineDeliveriesWaiting": {"tideline_webhooks_waiting": (2_000, 10)},
    "TidelineDeliveryFailing": {"tideline_webhooks_failed_total": (0, 90)},
    "TidelineWebhookAway": {"tideline_webhooks_open_circuits": (2, 0)},
    "TidelineDeliveriesLost": {"tideline_webhooks_missed_total": (0, 1)},
    "TidelineCampaignsBehind": {'tideline_campaign_behind_seconds{partition="1"}': (0, 60)},
    "TidelineCampaignsStuck": {'tideline_campaign_outbox{partition="1"}': (5, 0)},
    "TidelineNobodySends": {'tideline_campaign_owner{instance="a"}': (0, 0)},
    "TidelineChannelAway": {'tideline_campaign_open_circuit{channel="mail"}': (1, 0)},
    "TidelineCampaignsUnfit": {"tideline_campaign_channels_lacking": (1, 0)},
    "TidelineFilesShort": {'process_open_fds{job="tideline-api"}': (900, 0)},
}
EVENTUALLY = "170m"
BASE = "{{ with $externalLabels.runbooks }}{{ . }}/{{ end }}"


def promtool(*args: str | Path) -> str:
    """Run it; what it prints. Fails with what it says."""
    found = shutil.which("promtool")
    need(found, "promtool", "apt-get install prometheus")
    done = subprocess.run([str(found), *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scenario(series: Mapping[str, Values], *expected: dict[str, Any]) -> dict[str, Any]:
    inputs = [{"series": name, "values": written(values)} for name, values in series.items()]
    return {"interval": "1m", "input_series": inputs, "promql_expr_test": list(expected)}


def written(values: Values) -> str:
    """As promtool reads it."""
    return values if isinstance(values, str) else f"{values[0]}{values[1]:+}x180"


def firing(names: str, eval_time: str = EVENTUALLY) -> dict[str, Any]:
    """Exactly these alerts fire, each once; `names` with commas between them."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in filter(None, names.split(","))]
    expr = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return {"expr": expr, "eval_time": eval_time, "exp_samples": samples}


def run(tmp_path: Path, *scenarios: dict[str, Any]) -> None:
    file = tmp_path / "rules_test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(scenarios)}))
    promtool("test", "rules", file)


def test_prometheus_reads_the_rules() -> None:
    promtool("check", "rules", RULES)


def test_a_service_that_is_well_raises_no_alert(tmp_path: Path) -> None:
    run(tmp_path, scenario(WELL, firing("", "30m"), firing("")))


def test_every_alert_fires_for_its_fault_and_no_other_does(tmp_path: Path) -> None:
    assert FAULTS.keys() == ALERTS.keys()
    run(
        tmp_path,
        *(
            scenario({**WELL, **fault}, *([firing("", "1m")] if "for" in ALERTS[name] else []), firing(name))
            for name, fault in FAULTS.items()
        ),
    )


@pytest.mark.parametrize("job", ["tideline-worker", "tideline-api"])
def test_what_has_to_run_and_was_never_there_is_told(job: str, tmp_path: Path) -> None:
    nobody = {name: values for name, values in WELL.items() if job not in name}
    run(tmp_path, scenario(nobody, firing("TidelineDown")))


@pytest.mark.parametrize(
    ("job", "of_it", "told"),
    [
        ("tideline-worker", (), "TidelineDown"),
        ("tideline-api", (), "TidelineDown"),
        ("tideline-deliver", ("tideline_webhooks_owner",), "TidelineDown,TidelineNobodyDelivers"),
        ("tideline-campaigns", ("tideline_campaign_owner",), "TidelineDown,TidelineNobodySends"),
    ],
)
def test_a_job_whose_processes_are_gone_with_their_addresses_is_told_for_a_day(
    job: str, of_it: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    """A container that has ended has no address, so that `up` is not 0: it is not there, and nothing of the process."""
    gone = {
        name: "1x30" for name in WELL if (f'job="{job}"' in name and name.startswith("up")) or name.startswith(of_it)
    }
    run(tmp_path, scenario({**WELL, **gone}, firing("", "30m"), firing(told, "40m"), firing(told)))


def test_nobody_waits_for_deliveries_that_never_were(tmp_path: Path) -> None:
    """Who has no webhooks and no campaigns runs no process for them."""
    optional = ("deliver", "campaigns", "webhooks", "campaign_")
    run(tmp_path, scenario({k: v for k, v in WELL.items() if not any(word in k for word in optional)}, firing("")))


def test_workers_that_have_no_partition_at_all_are_told(tmp_path: Path) -> None:
    without = {name: values for name, values in WELL.items() if not name.startswith("tideline_lag")}
    run(tmp_path, scenario(without, firing("TidelinePartitionsIdle")))


def test_what_a_store_of_before_has_left_is_read_once_and_not_told(tmp_path: Path) -> None:
    """For an hour by a learner that is behind, or at once."""
    left, behind = 'tideline_chunks_of_other_stores_total{partition="0"}', 'tideline_learner_lag_chunks{partition="0"}'
    slowly = {left: "0+100x60 6000x120", behind: "6000-100x60 0x120"}
    at_once = {left: "0 500x180"}
    minutes = (20, 120, 150, 170)
    for found in (slowly, at_once):
        run(tmp_path, scenario({**WELL, **found}, *(firing("", f"{minute}m") for minute in minutes)))


def test_replacing_a_process_is_not_told_an_hour_later(tmp_path: Path) -> None:
    """For some minutes there is one more of them."""
    replaced = {
        'up{job="tideline-worker",instance="v"}': "1x65",
        'up{job="tideline-worker",instance="u"}': "_x60 1x120",
    }
    run(tmp_path, scenario({**WELL, **replaced}, *(firing("", f"{minute}m") for minute in (66, 100, 123, 126, 170))))


@pytest.mark.parametrize(
    ("record", "series"),
    [
        ("tideline:api_errors:ratio_rate5m", 'tideline_api_requests_total{status="2xx"}'),
        ("tideline:dead_letters:ratio_rate15m", 'tideline_records_total{partition="0"}'),
    ],
)
def test_where_nothing_ever_failed_the_share_is_none_of_it(record: str, series: str, tmp_path: Path) -> None:
    """A metric with no series at all is a ratio of 0, and not of nothing."""
    sample = {"labels": record, "value": 0}
    run(tmp_path, scenario({series: (0, 60)}, {"expr": record, "eval_time": "30m", "exp_samples": [sample]}))


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_rest_on_metrics_that_are_exported(rule: dict[str, Any]) -> None:
    known = set[str]().union(*map(described, ("Worker", "API", "Deliveries", "Campaigns")))
    named = {re.sub("_bucket$", "", name) for name in re.findall(r"\b(?:tideline|process)_\w+", rule["expr"])}
    assert named <= known
    recorded = set(re.findall(r"\btideline:[\w:]+", rule["expr"]))
    assert recorded <= RECORDED
    assert named or recorded or "up{" in rule["expr"]


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_section_that_says_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^### {name}\n(.+?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert len(section.split()) > 20
    assert rule["annotations"]["runbook_url"] == f"{BASE}docs/operations.md#{name.lower()}"
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]


@pytest.mark.parametrize(
    ("base", "shown"), [("https://wiki.example/tideline", "https://wiki.example/tideline/"), ("", "")]
)
def test_where_the_runbook_lies_is_for_prometheus_to_say(base: str, shown: str, tmp_path: Path) -> None:
    """By an external label, so that what Alertmanager shows can be clicked."""
    annotations = {
        "summary": "No process delivers to webhooks",
        "runbook_url": f"{shown}docs/operations.md#tidelinenobodydelivers",
    }
    labels = {"severity": "critical"}
    test = scenario({"tideline_webhooks_owner": (0, 0)})
    told = {"exp_labels": labels, "exp_annotations": annotations}
    test["alert_rule_test"] = [{"eval_time": "10m", "alertname": "TidelineNobodyDelivers", "exp_alerts": [told]}]
    run(tmp_path, {**test, "external_labels": {"runbooks": base}} if base else test)


def test_no_section_is_about_an_alert_that_is_gone() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (Tideline\w+)$", page, re.MULTILINE)) == ALERTS.keys()
