"""The dashboard "Service": whether events are worked, how long that takes, and what it costs."""

from __future__ import annotations

from tests.dashboards.board import Board, Chart, Query


def quantile(share: str, name: str, by: str = "", where: str = "") -> str:
    """Of a histogram; `by`: a label that stays."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({name}_bucket{where}[$__rate_interval])))"


def rate(name: str, by: str) -> str:
    """A second, by a label."""
    return f"sum by ({by}) (rate({name}[$__rate_interval]))"


NOW = (
    Chart("Processes", "That answer Prometheus.", [Query('sum(up{job=~"tideline-.+"})')], kind="stat"),
    Chart("Events a second", "That are read and worked.", [Query("tideline:records:rate5m")], kind="stat"),
    Chart("Unread events", "Of all partitions.", [Query("tideline:lag_records:sum")], kind="stat"),
    Chart(
        "Slowest answers",
        "From an event in the log to its transitions, in the worst hundredth of the batches.",
        [Query("tideline:transition_latency_seconds:p99_rate5m")],
        unit="s",
        kind="stat",
    ),
    Chart("Users", "Of all shards that are loaded.", [Query("sum(tideline_users)")], kind="stat"),
    Chart(
        "Age of the outbox",
        "The oldest that no log has taken.",
        [Query("max(tideline_outbox_age_seconds)")],
        unit="s",
        kind="stat",
    ),
    Chart("Deliveries that wait", "For all webhooks.", [Query("tideline:webhooks_waiting:sum")], kind="stat"),
    Chart("Open circuits", "Webhooks that take nothing.", [Query("max(tideline_webhooks_open_circuits)")], kind="stat"),
)
EVENTS = (
    Chart(
        "Events by result",
        "Duplicates had been accepted before: a producer sends again.",
        [Query(rate("tideline_events_total", "result"), "{{result}}")],
        unit="ops",
    ),
    Chart(
        "Unread events",
        "By partition. One that stays behind has a user with most of the events, or a slow worker.",
        [Query("sum by (partition) (tideline_lag_records)", "{{partition}}")],
    ),
    Chart(
        "How long unread events wait",
        "The oldest of each partition.",
        [Query("max by (partition) (tideline_lag_seconds)", "{{partition}}")],
        unit="s",
    ),
    Chart(
        "Dead letters",
        "Records that cannot be used, by reason: tideline dead-letters shows examples.",
        [Query(rate("tideline_dead_letters_total", "reason"), "{{reason}}")],
        unit="ops",
    ),
    Chart(
        "Late, from the future, and goals after their label",
        "What clocks and slow networks do.",
        [
            Query("sum(rate(tideline_late_events_total[$__rate_interval]))", "late"),
            Query("sum(rate(tideline_moved_back_events_total[$__rate_interval]))", "moved back"),
            Query("sum(rate(tideline_late_goals_total[$__rate_interval]))", "late goals"),
        ],
        unit="ops",
    ),
    Chart(
        "Looks and category changes",
        "What silence costs, and what moves.",
        [
            Query("sum(rate(tideline_looks_total[$__rate_interval]))", "looks"),
            Query("sum(rate(tideline_category_changes_total[$__rate_interval]))", "category changes"),
        ],
        unit="ops",
    ),
)
BATCHES = (
    Chart(
        "From an event to its transitions",
        "Of the first and the last record of each batch with transitions; all others lie between.",
        [
            Query("tideline:transition_latency_seconds:p99_rate5m", "first, p99"),
            Query("tideline:transition_latency_seconds:p50_rate5m", "first, p50"),
            Query(quantile("0.5", "tideline_transition_latency_seconds", where='{record="last"}'), "last, p50"),
        ],
        unit="s",
    ),
    Chart(
        "Batch, commit, publishing",
        "The worst hundredth. A slow commit is the store's disk, slow publishing is Kafka.",
        [
            Query(quantile("0.99", "tideline_batch_seconds"), "batch"),
            Query("tideline:commit_seconds:p99_rate5m", "commit"),
            Query(quantile("0.99", "tideline_publish_seconds"), "publishing"),
        ],
        unit="s",
    ),
    Chart(
        "Records of a batch",
        "Batches grow with what waits.",
        [
            Query(quantile("0.5", "tideline_batch_records"), "p50"),
            Query(quantile("0.99", "tideline_batch_records"), "p99"),
        ],
    ),
    Chart(
        "Commits a second, and loads",
        "A shard is loaded when a worker takes it over.",
        [
            Query("tideline:commits:rate5m", "commits"),
            Query("sum(rate(tideline_shard_loads_total[$__rate_interval]))", "loads"),
            Query("sum(rate(tideline_store_set_backs_total[$__rate_interval]))", "store set back"),
        ],
        unit="ops",
    ),
    Chart(
        "Outbox",
        "What is stored and not acknowledged.",
        [Query("sum by (partition) (tideline_outbox_entries)", "{{partition}}")],
    ),
    Chart(
        "Memory of the store",
        "Of what each server may have; full, it refuses commits.",
        [Query("tideline_store_memory_bytes / tideline_store_memory_limit_bytes", "{{server}}")],
        unit="percentunit",
        most=1.0,
    ),
    Chart(
        "What the store promises",
        "0: a restart forgets commits, 1: a failure may forget the last ones, 2: nothing is forgotten.",
        [Query("min(tideline_store_promise)", "promise"), Query("max(tideline_store_unwritten)", "could not write")],
        most=2.0,
    ),
    Chart(
        "Failing clients",
        "By the error that they became.",
        [Query(rate("tideline_client_errors_total", "client, error"), "{{client}} {{error}}")],
        unit="ops",
    ),
)
LEARNING = (
    Chart(
        "Chunks to learn",
        "By partition of the examples.",
        [Query("sum by (partition) (tideline_learner_lag_chunks)", "{{partition}}")],
    ),
    Chart(
        "Pending examples",
        "That wait for their label.",
        [Query("sum by (partition) (tideline_pending_examples)", "{{partition}}")],
        kind="stacked",
    ),
    Chart(
        "Age of the oldest pending example",
        "About the longest window and its lateness.",
        [Query("max by (partition) (tideline_pending_examples_age_seconds)", "{{partition}}")],
        unit="s",
    ),
    Chart(
        "Chunks, and what was dropped or refused",
        "Dropped examples are the bound of the catalog; chunks of another store should come after a rebuild alone.",
        [
            Query("sum(rate(tideline_chunks_total[$__rate_interval]))", "chunks sent"),
            Query("sum(rate(tideline_chunks_refused_total[$__rate_interval]))", "chunks refused"),
            Query("sum(rate(tideline_chunks_of_other_stores_total[$__rate_interval]))", "chunks of other stores"),
            Query("sum(rate(tideline_dropped_examples_total[$__rate_interval]))", "examples dropped"),
            Query("sum(rate(tideline_models_refused_total[$__rate_interval]))", "models refused"),
        ],
        unit="ops",
    ),
)
API = (
    Chart(
        "Requests",
        "By class of the answer. 4xx are mistakes of callers, 5xx of the service.",
        [Query(rate("tideline_api_requests_total", "status"), "{{status}}")],
        unit="reqps",
    ),
    Chart(
        "Time of a request",
        "The worst hundredth, by route.",
        [Query(quantile("0.99", "tideline_api_request_seconds", by="route"), "{{route}}")],
        unit="s",
    ),
    Chart(
        "Events over HTTP",
        "Unusable ones are in the log, and become dead letters.",
        [Query(rate("tideline_api_events_total", "result"), "{{result}}")],
        unit="ops",
    ),
    Chart(
        "Bodies in hand",
        "At TIDELINE_API_IN_FLIGHT_MB callers are told to come again.",
        [Query("sum(tideline_api_in_flight_bytes)", "bytes")],
        unit="bytes",
    ),
)
DELIVERIES = (
    Chart(
        "Deliveries",
        "Arrived, failed attempts, given up, missed.",
        [
            Query(f"sum(rate(tideline_webhooks_{name}_total[$__rate_interval]))", words)
            for name, words in (
                ("delivered", "arrived"),
                ("failed", "failed"),
                ("dead", "given up"),
                ("missed", "missed"),
            )
        ],
        unit="ops",
    ),
    Chart(
        "Until a delivery arrives",
        "The worst hundredth, with all attempts.",
        [Query(quantile("0.99", "tideline_webhooks_latency_seconds", by="since"), "since {{since}}")],
        unit="s",
    ),
    Chart("Waiting", "For all webhooks.", [Query("tideline:webhooks_waiting:sum", "waiting")]),
    Chart(
        "Streams",
        "Of transitions, that are open at the API.",
        [
            Query("sum(tideline_api_streams)", "open"),
            Query("sum(rate(tideline_api_streams_dropped_total[$__rate_interval]))", "ended a second"),
        ],
    ),
)
PROCESSES = (
    Chart(
        "Memory",
        "Of what each process may have.",
        [
            Query(
                'process_resident_memory_bytes{job=~"tideline-.+"} / tideline_memory_limit_bytes',
                "{{job}} {{instance}}",
            )
        ],
        unit="percentunit",
        most=1.0,
    ),
    Chart(
        "Resident memory",
        "Of each process.",
        [Query('process_resident_memory_bytes{job=~"tideline-.+"}', "{{job}} {{instance}}")],
        unit="bytes",
    ),
    Chart(
        "Processor time",
        "A worker computes on one core.",
        [Query('rate(process_cpu_seconds_total{job=~"tideline-.+"}[$__rate_interval])', "{{job}} {{instance}}")],
        most=1.0,
    ),
    Chart("Open files", "And connections.", [Query('process_open_fds{job=~"tideline-.+"}', "{{job}} {{instance}}")]),
)

SERVICE = Board(
    uid="tideline-service",
    title="Tideline: Service",
    words="Whether events are worked, how long that takes, and what it costs. docs/operations.md says what to do.",
    rows={
        "Now": NOW,
        "Events": EVENTS,
        "Batches": BATCHES,
        "Learning": LEARNING,
        "API": API,
        "Deliveries": DELIVERIES,
        "Processes": PROCESSES,
    },
    variables={},
)
