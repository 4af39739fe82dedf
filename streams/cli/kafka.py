"""`tideline topics`, `produce`, `tail` and `lag`: the log from the terminal, Kafka or an embedded one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streams.cli.options import CatalogFile, Files, Json, Origin, origins_of
from streams.cli.screen import TerminalWatcher, echo_json, err, guarded, show, warn

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from config.settings import Settings
    from streams.adapters.kafka_topics import TopicFound
    from streams.adapters.log_folder import LogFolder
    from streams.runtime.produce import Produced
    from streams.runtime.seen import Seen

TOPICS_EXAMPLES = (
    ("tideline topics", "is every topic there, and as it has to be?"),
    ("TIDELINE_SHARDS=12 tideline topics --create", "make those that are missing, the events in 12 partitions"),
)
PRODUCE_EXAMPLES = (
    ("tideline produce orders.csv -c shop.yaml", "as fast as Kafka takes them"),
    ("tideline produce orders.csv -c shop.yaml --rate 1000", "a thousand a second"),
    ("tideline produce orders.csv -c shop.yaml --start 20000", "go on after a run that was stopped there"),
    ("tideline produce orders.csv -c shop.yaml --data-dir .tideline/up", "to `tideline up`, which has no Kafka"),
)
TAIL_EXAMPLES = (
    ("tideline tail segment-events", "who enters and leaves segments, from now on"),
    ("tideline tail segment-events --origin live,decay", "only what users did, or did not do"),
    ("tideline tail dead-letters --from-start --limit 20", "the oldest records that could not be used"),
    ("tideline tail segment-events --json | jq .data.user_id", "for a script"),
)
LAG_EXAMPLES = (
    ("tideline lag", "how many events the workers have still to read"),
    ("tideline lag --data-dir .tideline/up", "how many the worker of `tideline up` has"),
)

_START_CHARACTERS = 120

Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--kafka", metavar="HOST:PORT", help="Brokers of the Kafka (localhost:9092, or what the settings say)."
    ),
]


LogDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="DIR", help="In place of Kafka: the embedded log of this directory (of `tideline up`)."
    ),
]


def embedded_log(data_dir: Path | None, **others: object) -> LogFolder | None:
    """The log of `--data-dir`; None without it. Raises SettingsError beside options of Kafka, BrokerError for none."""
    from config.errors import SettingsError
    from streams.runtime.up_log import find_log

    if data_dir is None:
        return None
    for option, value in others.items():
        if value is not None:
            raise SettingsError(f"--data-dir is a log without Kafka: leave out --{option}, or --data-dir")
    return find_log(data_dir)


def _settings(bootstrap: str | None) -> Settings:
    """Raises SettingsError."""
    from config.settings import load_settings

    return load_settings(kafka_bootstrap_servers=bootstrap)


# --- tideline topics ---------------------------------------------------------------------------------------------


@guarded()
def topics(
    create: Annotated[bool, typer.Option("--create", help="Make the topics that are missing.")] = False,
    kafka: Bootstrap = None,
    as_json: Json = False,
) -> None:
    """Check the topics of the service: partitions, retention, compaction, replication.

    A topic that exists is never changed; what is wrong with it is explained, with what to do. Ends with code 6 if
    something is missing or wrong.
    """
    from streams.adapters.kafka_topics import check_topics

    found = check_topics(_settings(kafka), create=create)
    ok = not any(topic.problems for topic in found)
    if as_json:
        import msgspec

        typer.echo(json.dumps({"ok": ok, "topics": msgspec.to_builtins(found)}, ensure_ascii=False))
    else:
        show(*_topic_words(found))
    if not ok:
        from config.errors import TopicsDiffer

        raise typer.Exit(TopicsDiffer.exit_code)


def _topic_words(found: tuple[TopicFound, ...]) -> Iterator[Table | Text]:
    from rich.text import Text

    from streams.cli.tables import add, plain_table

    table = plain_table("topic", "name", "state", ">partitions", ">copies", "keeps")
    for topic in found:
        keeps = "latest of each key" if topic.cleanup == "compact" else _hours(topic.retention_ms)
        numbers = ["" if number is None else str(number) for number in (topic.partitions, topic.replication)]
        add(table, topic.kind, topic.name, topic.state, *numbers, "" if topic.cleanup is None else keeps)
    yield table
    for topic in found:
        for problem in topic.problems:
            yield Text.assemble((topic.name, "bold red"), f" {problem}")


def _hours(retention_ms: int | None) -> str:
    if retention_ms is None:
        return ""
    return "everything" if retention_ms < 0 else f"{retention_ms / 3_600_000:g} hours"


# --- tideline produce --------------------------------------------------------------------------------------------


@guarded()
def produce(
    files: Files,
    catalog: CatalogFile,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.01, metavar="N", help="At most so many events a second.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", help="Another topic than that of the events (TIDELINE_KAFKA_EVENTS_TOPIC).")
    ] = None,
    start: Annotated[
        int, typer.Option("--start", min=0, metavar="N", help="Leave out the first N rows, in the order of time.")
    ] = 0,
    kafka: Bootstrap = None,
    data_dir: LogDir = None,
    as_json: Json = False,
) -> None:
    """Send files of events to the log, in the order of their times, with the user id as the key.

    Segment JSON is sent as it stands; of other formats the catalog's mapping is sent as Segment JSON.
    """
    from config.loader import load_catalog
    from streams.adapters.files import open_log
    from streams.runtime.embedded.produce import produce as produce_to_log
    from streams.runtime.kafka.produce import produce as produce_to_kafka
    from streams.runtime.produce import Produced

    settings = _settings(kafka)
    folder = embedded_log(data_dir, kafka=kafka, topic=topic)
    loaded = load_catalog(catalog)
    name = topic or settings.topic("events") if folder is None else str(folder.path / "events")
    with TerminalWatcher() as watcher:
        with watcher.step("Reading the files"):
            log = open_log(files, loaded, time.time(), progress=watcher.scanned)
        with log:
            done = Produced(name, start)
            watcher.begin(start, log.rows)
            try:
                if folder is None:
                    send = partial(produce_to_kafka, topic=name)
                else:
                    send = partial(produce_to_log, folder=folder)
                send(log, loaded, settings, start=start, rate=rate, advance=watcher.advance, progress=done)
            except BaseException:
                watcher.close()
                _say_where(done, log.rows)
                raise
            rows = log.rows
    if as_json:
        typer.echo(json.dumps(_produced_json(done, rows)))
    else:
        show(f"{done.sent:,} of {rows - start:,} events are in {name}, in {done.seconds:.1f} s.")
    if done.refused:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in done.refused.most_common())
        warn(
            f"{done.refused.total():,} rows could not be used and were not sent: {reasons}.",
            f"tideline check CATALOG FILE --rows {rows} shows examples of each.",
        )


def _say_where(done: Produced, rows: int) -> None:
    """How to go on after an end that was not planned."""
    if 0 < done.position < rows:
        warn(f"The log has everything before row {done.position:,}; go on with --start {done.position}.")


def _produced_json(done: Produced, rows: int) -> dict[str, Any]:
    return {
        "topic": done.topic,
        "rows": rows,
        "sent": done.sent,
        "refused": dict(done.refused),
        "position": done.position,
        "seconds": done.seconds,
    }


# --- tideline tail -----------------------------------------------------------------------------------------------


@guarded()
def tail(
    kind: Annotated[
        Literal["segment-events", "campaign-triggers", "dead-letters"],
        typer.Argument(metavar="TOPIC", help="segment-events, campaign-triggers or dead-letters."),
    ],
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest record there is.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="End after N records.")] = None,
    origin: Origin = None,
    kafka: Bootstrap = None,
    data_dir: LogDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each record as one line of JSON.")] = False,
) -> None:
    """Show the records of a topic as they come, until Ctrl-C."""
    from config.errors import SettingsError
    from streams.runtime.embedded import watch as embedded
    from streams.runtime.kafka.watch import follow
    from streams.runtime.words import printable

    origins = origins_of(origin)
    if origins and kind != "segment-events":
        raise SettingsError(f"--origin is for segment-events; {kind} have none")
    settings, folder = _settings(kafka), embedded_log(data_dir, kafka=kafka)
    enough = None if origins else limit

    def begin(there: int) -> None:
        if not as_json:  # a script knows what it has asked for
            err().print(_where_it_begins(kind, there, from_start=from_start), markup=False)

    def warn(words: str) -> None:
        err().print(words, markup=False)

    try:
        if folder is None:
            records = follow(
                settings, settings.topic(kind), from_start=from_start, limit=enough, begin=begin, warn=warn
            )
        else:
            records = embedded.follow(folder, kind, from_start=from_start, limit=enough, begin=begin)
        for seen in islice((seen for seen in records if not origins or _origin_of(seen) in origins), limit):
            if as_json:
                echo_json(_json_of(seen))
            else:
                typer.echo(printable(_line_of(kind, seen)))  # what users sent must not command the terminal
    except KeyboardInterrupt:
        return  # the way in which it ends


def _where_it_begins(kind: str, there: int, *, from_start: bool) -> str:
    """What is going to be shown, when nothing may come for long; `there`: how many records are there already."""
    if not from_start:
        words = f"Showing what comes to {kind} from now on (--from-start begins with the oldest record)."
    elif there:
        words = f"Showing {kind} from the oldest record on ({there:,} are there, and what comes)."
    else:
        words = f"{kind} has no record yet: waiting for the first one."
    return f"{words} Ctrl-C ends it."


def _origin_of(seen: Seen) -> str | None:
    """Where a transition came from; None for a record that is none."""
    data = seen.body.get("data") if isinstance(seen.body, dict) else None
    origin = data.get("origin") if isinstance(data, dict) else None
    return origin if isinstance(origin, str) else None


def _json_of(seen: Seen) -> Any:
    """The record's own JSON; a record that is none is told as what it is."""
    if seen.body is not None:
        return seen.body
    raw = seen.raw.decode(errors="replace")
    return {"partition": seen.partition, "offset": seen.offset, "key": seen.key, "raw": raw}


def _line_of(kind: str, seen: Seen) -> str:
    from streams.runtime.words import moment

    body = seen.body if isinstance(seen.body, dict) else {}
    when = moment(seen.time_ms / 1000)
    if kind == "dead-letters" and "reason" in body:
        start = _start_of(body)
        return f"{when}  {body['reason']}: {body.get('detail', '')}  {body.get('source', '')}  {start}"
    data = body.get("data")
    if kind == "segment-events" and isinstance(data, dict) and "segment_id" in data:
        return f"{body.get('time', '')}  {_crossing(data)}"
    text = json.dumps(seen.body, ensure_ascii=False) if seen.body is not None else seen.raw.decode(errors="replace")
    return f"{when}  {seen.partition}:{seen.offset}  {seen.key}  {text}"


def _start_of(body: dict[str, Any]) -> str:
    """The start of the record that could not be used, as `tideline dead-letters` shows it."""
    import msgspec

    from streams.runtime.hints import DeadLetter

    try:
        return msgspec.convert({"position": -1, **body}, DeadLetter).start(_START_CHARACTERS)
    except (msgspec.ValidationError, ValueError):  # not written by us, or no base64
        return str(body.get("raw", body.get("raw_base64", "")))[:_START_CHARACTERS]


def _crossing(data: dict[str, Any]) -> str:
    from streams.runtime.words import points

    direction = "enters" if data.get("in_segment") else "leaves"
    score = data.get("score")
    words = f"score {points(score, digits=1)}" if isinstance(score, int | float) else "no score"
    goal = ", by its goal" if data.get("caused_by_goal") else ""
    return f"{data.get('user_id')} {direction} {data['segment_id']} ({words}, {data.get('origin')}{goal})"


# --- tideline lag ------------------------------------------------------------------------------------------------


@guarded()
def lag(kafka: Bootstrap = None, data_dir: LogDir = None, as_json: Json = False) -> None:
    """Show how far the workers are behind: for every partition of the events where it begins and ends (and of when its
    oldest record is), and what is committed.

    Workers say how far they are after everything else, for this display only; where they go on is in the store.
    """
    from streams.cli.tables import add, plain_table
    from streams.runtime.embedded import watch as embedded
    from streams.runtime.kafka.watch import lag_of

    settings, folder = _settings(kafka), embedded_log(data_dir, kafka=kafka)
    topic = settings.topic("events") if folder is None else "events"
    found = lag_of(settings, topic) if folder is None else embedded.lag_of(folder, "events")
    who = f"the group {settings.kafka_group}" if folder is None else f"the worker of {data_dir}"
    total = sum(partition.lag for partition in found)
    if as_json:
        rows = [
            {
                "partition": p.partition,
                "start": p.start,
                "oldest_s": p.oldest_s,
                "end": p.end,
                "committed": p.committed,
                "lag": p.lag,
            }
            for p in found
        ]
        group = settings.kafka_group if folder is None else None
        typer.echo(json.dumps({"topic": topic, "group": group, "lag": total, "partitions": rows}))
        return
    table = plain_table(">partition", ">start", "oldest record", ">end", ">committed", ">lag")
    for p in found:
        oldest = "none" if p.oldest_s is None else datetime.fromtimestamp(p.oldest_s, UTC).strftime("%Y-%m-%d %H:%M")
        committed = "none" if p.committed is None else f"{p.committed:,}"
        add(table, str(p.partition), f"{p.start:,}", oldest, f"{p.end:,}", committed, f"{p.lag:,}")
    show(table, f"{total:,} records of {topic} are still to be read by {who}.")
