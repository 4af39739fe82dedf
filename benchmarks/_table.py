"""The figures of all benchmarks as Markdown, and their place in a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks._asked import Verdict, judge, judge_time
from benchmarks._peers import PEERS

BEGIN = "<!-- make bench writes from here -->"
END = "<!-- to here -->"
_MIB = 1 << 20

HEADLINES: Mapping[str, Sequence[str]] = {
    "kafka": (
        "events_per_s",
        "events_per_s_learned",
        "learned_after_s",
        "events_per_worker_cpu_s",
        "ratio_to_consume_and_decode",
        "ratio_to_plain_faust",
        "ratio_to_simple_faust",
        "latency_rate",
        "latency_p50_ms",
        "latency_p99_ms",
    ),
    "engine": ("events_per_s", "events_per_cpu_s", "with_store_events_per_s", "ratio_to_reference"),
    "memory": ("users", "process_bytes_per_user", "process_peak_bytes", "redis_bytes_per_user"),
    "ingest": ("events_per_s", "request_p99_ms", "healthy_p50_ms", "healthy_p99_ms", "dead_beside_p99_ms"),
    "campaigns": ("users", "users_per_s", "process_peak_bytes"),
    "messages": ("campaigns", "p50_ms", "p99_ms", "missing"),
    "console": ("users", "predictions", "page_first_ms", "page_fresh_p50_ms", "page_fresh_max_ms", "page_within_limit"),
    "holdout": ("users", "holdout_ratio", "untouched_ratio", "withheld_ratio", "treated_ratio", "treated_error"),
    "lift": ("runs", "rate_covered", "rate_intervals", "net_covered", "net_intervals"),
}
"""Of the benchmarks without a table of their own: what is shown. All the rest is in their JSON."""


class RunName(Protocol):
    """Which benchmark, and in which size."""

    @property
    def name(self) -> str: ...

    @property
    def arguments(self) -> str: ...


class OutcomeOfRun(Protocol):
    """What a benchmark came to (`suite.Outcome`)."""

    @property
    def run(self) -> RunName: ...

    @property
    def seconds(self) -> float: ...

    @property
    def figures(self) -> dict[str, Any] | None: ...

    @property
    def failure(self) -> str | None: ...


def report(machine: Iterable[str], outcomes: Sequence[OutcomeOfRun], seconds: float) -> str:
    """The whole of it."""
    parts = ["\n".join(f"- {line}" for line in [*machine, _time_line(seconds)])]
    for outcome in outcomes:
        head = f"**`{outcome.run.name}`** ({outcome.run.arguments or 'default sizes'}; {outcome.seconds:.0f} s)"
        if outcome.failure is not None:
            parts.append(f"{head}: FAILED: {outcome.failure}")
        if outcome.figures is not None:
            parts += [f"{head}:"] if outcome.failure is None else []
            parts.append(_table_of(outcome.run.name, outcome.figures))
    return "\n\n".join(parts) + "\n"


def _time_line(seconds: float) -> str:
    return f"all took {seconds / 60.0:.1f} minutes (asked for {judge_time(seconds).words})"


def put_into(path: Path, text: str) -> None:
    """Between the marks of a page. Raises ValueError where they are not there."""
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _table_of(name: str, figures: Mapping[str, Any]) -> str:
    if name == "peers":
        return _peers(figures)
    if name == "growth":
        return _growth(figures)
    asked = _asked(name, figures)
    keys = [*HEADLINES.get(name, tuple(figures))]
    keys += [key for key in asked if key not in keys]
    rows = [[f"`{key}`", _number(figures.get(key)), asked[key].words if key in asked else ""] for key in keys]
    return _table(["figure", "value", "asked for"], rows)


def _asked(name: str, figures: Mapping[str, Any]) -> dict[str, Verdict]:
    """By the keys of the figures."""
    return {verdict.asked.key: verdict for verdict in judge(name, figures)}


def _peers(figures: Mapping[str, Any]) -> str:
    head = [
        *("program", "events/s", "learning included", "Tideline is faster by", "asked for", "p50, p99 at half load"),
        *("CPU s per million events", "of the store", "most memory", "growth per million events"),
    ]
    names = {
        "tideline": "Tideline, one worker",
        "tideline_two_workers": f"Tideline, two workers on {figures.get('cores')} cores",
        **{peer.key: peer.name for peer in PEERS},
        "consume_and_decode": "limit: aiokafka, only consuming and decoding",
        "store_alone": "limit: Valkey, only taking the same writes",
    }
    asked = _asked("peers", figures)
    rows = [
        _peer_row(name, figures[key], figures.get(f"ratio_to_{key}"), asked.get(f"ratio_to_{key}"))
        for key, name in names.items()
        if key in figures
    ]
    return _table(head, rows)


def _peer_row(name: str, found: Mapping[str, Any], ratio: float | None, verdict: Verdict | None) -> list[str]:
    words = "" if verdict is None else verdict.words
    for word in ("missing", "failed"):
        if word in found:
            why = f"{word}: {found[word]}".replace("\n", " ").replace("|", "/")
            return [name, why, "", "", words, *[""] * 5]
    latency = [found.get(f"half_load_{each}_ms") for each in ("p50", "p99")]
    return [
        f"{name} {found['version']}" if "version" in found else name,
        _number(found["events_per_s"]),
        _number(found.get("events_per_s_learned")),
        "" if ratio is None else f"{ratio:.3g} ×",
        words,
        "" if None in latency else f"{_number(latency[0])} ms, {_number(latency[1])} ms",
        _number(found.get("cpu_s_per_million_events")),
        _number(found.get("store_cpu_s_per_million_events")),
        _mib(found.get("memory_peak_bytes")),
        _mib(found.get("memory_growth_bytes_per_million_events")),
    ]


def _mib(size_bytes: float | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / _MIB:,.0f} MiB"


def _growth(figures: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{int(key.removeprefix('users_')):,}",
            f"{found['cpu_us_per_event']:.1f} µs",
            f"{found['looks_per_event']:.2f}",
            f"{found['cpu_us_per_moment']:.1f} µs",
            _number(found["events"]),
            "",
        ]
        for key, found in figures.items()
        if key.startswith("users_")
    ]
    ratio, of_moments = (figures[f"cpu_us_per_{each}_largest_to_smallest"] for each in ("event", "moment"))
    asked = _asked("growth", figures)["cpu_us_per_event_largest_to_smallest"].words
    rows.append(["most to fewest", f"{ratio:.2f} ×", "", f"{of_moments:.2f} ×", "", asked])
    head = ["users", "CPU per event, its looks included", "looks per event", "CPU per event or look", "events"]
    return _table([*head, "asked for"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1_000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)
