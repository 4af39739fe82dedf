"""The dashboard "Campaigns": what is decided, what arrives, and whether the service keeps up."""

from __future__ import annotations

from tests.dashboards.board import Board, Chart, Query


def rate(name: str, by: str) -> str:
    """A second, by a label."""
    return f"sum by ({by}) (rate({name}[$__rate_interval]))"


NOW = (
    Chart(
        "Messages a second",
        "That campaigns and journeys have decided to send.",
        [Query('sum(rate(tideline_campaign_decisions_total{result="sent"}[$__rate_interval]))')],
        unit="ops",
        kind="stat",
    ),
    Chart("Waiting messages", "In all channels.", [Query("sum(tideline_campaign_waiting)")], kind="stat"),
    Chart(
        "Behind",
        "How long ago all was read that had happened.",
        [Query("max(tideline_campaign_behind_seconds)")],
        unit="s",
        kind="stat",
    ),
    Chart(
        "Paused by the catalog",
        "Campaigns that do not fit it, and channels that lack settings or a secret.",
        [
            Query("max(tideline_campaign_troubles)", "campaigns"),
            Query("max(tideline_campaign_channels_lacking)", "channels"),
        ],
        kind="stat",
    ),
)
MESSAGES = (
    Chart(
        "Decisions",
        "What became of occasions: sent, or why not. Much of one reason is mostly a rule that is too strict.",
        [Query(rate("tideline_campaign_decisions_total", "result"), "{{result}}")],
        unit="ops",
        kind="stacked",
    ),
    Chart(
        "Deliveries",
        "What became of messages, by channel.",
        [Query(rate("tideline_campaign_deliveries_total", "channel, result"), "{{channel}} {{result}}")],
        unit="ops",
    ),
    Chart(
        "Until a message arrives",
        "The worst hundredth: since its event, with what it waited for (quiet hours, rates), and since it was decided.",
        [
            Query(
                "histogram_quantile(0.99, sum by (le, channel, since) "
                "(rate(tideline_campaign_latency_seconds_bucket[$__rate_interval])))",
                "{{channel}} since {{since}}",
            )
        ],
        unit="s",
    ),
    Chart(
        "Waiting by channel",
        "A channel that is slow, or takes nothing.",
        [Query("sum by (channel) (tideline_campaign_waiting)", "{{channel}}")],
    ),
)
SERVICE = (
    Chart(
        "Behind by partition",
        "What waits longer than a campaign allows is not sent.",
        [Query("max by (partition) (tideline_campaign_behind_seconds)", "{{partition}}")],
        unit="s",
    ),
    Chart(
        "Inputs, commits, published records",
        "Crossings, events and timers that were decided about, and what came of them.",
        [
            Query(f"sum(rate(tideline_campaign_{name}_total[$__rate_interval]))", name)
            for name in ("inputs", "commits", "published")
        ],
        unit="ops",
    ),
    Chart(
        "Outbox",
        "What is stored and not published.",
        [Query("sum by (partition) (tideline_campaign_outbox)", "{{partition}}")],
    ),
    Chart(
        "Open circuits",
        "Channels to which nothing is sent at the moment.",
        [Query("max by (channel) (tideline_campaign_open_circuit)", "{{channel}}")],
        most=1.0,
    ),
    Chart(
        "Who delivers",
        "One process does, the others stand by.",
        [Query("tideline_campaign_owner", "{{instance}}")],
        most=1.0,
    ),
    Chart(
        "Memory",
        "Of what each process may have.",
        [
            Query(
                'process_resident_memory_bytes{job="tideline-campaigns"} / tideline_memory_limit_bytes', "{{instance}}"
            )
        ],
        unit="percentunit",
        most=1.0,
    ),
)

CAMPAIGNS = Board(
    uid="tideline-campaigns",
    title="Tideline: Campaigns",
    words="What campaigns decide, what arrives, and whether their service keeps up; of each one its own page tells.",
    rows={"Now": NOW, "Messages": MESSAGES, "Service": SERVICE},
    variables={},
)
