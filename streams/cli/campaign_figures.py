"""`tideline campaign figures` and `failures`: what campaigns and journeys have done, and what did not arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.campaign import Id, asked_service, find
from streams.cli.definitions import Api, Key
from streams.cli.options import Json
from streams.cli.screen import echo_json, guarded, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from streams.client import Client

FIGURES_EXAMPLES = (
    ("tideline campaign figures warm_cart", "how many were sent, why others were not, and what came of it"),
    ("tideline campaign figures warm_cart --json", "the same for a script"),
)
FAILURES_EXAMPLES = (
    ("tideline campaign failures warm_cart", "what its channels have given up, and what nobody knows of"),
    ("tideline campaign failures warm_cart --state unknown", "only those that may have arrived"),
)


class State(StrEnum):
    """How an attempt ended that is not made again, as the API has it."""

    DEAD = "dead"
    UNKNOWN = "unknown"


OfState = Annotated[
    State | None,
    typer.Option("--state", help="Only those that were given up (dead), or that may have arrived (unknown)."),
]


@guarded()
def figures(id_: Id, api: Api = None, key: Key = None, as_json: Json = False) -> None:
    """Show what one has done: sent, withheld and why, where the users of a journey are, and what came of it.

    Of an event that was named after it had come, it says how much of the log is still to be read. Needs a key of the
    role read.
    """
    with asked_service(api, key) as client:
        kind, _ = find(client, id_)
        found = client.call(f"get{kind.title()}Figures", {f"{kind}_id": id_})
    if as_json:
        echo_json(found)
    else:
        show(*_figures(found))


@guarded()
def failures(id_: Id, state: OfState = None, api: Api = None, key: Key = None, as_json: Json = False) -> None:
    """Show messages of one that were given up, or of which nobody knows whether they arrived, by channel.

    tideline channel redrive sends them again. Needs a key of the role read.
    """
    with asked_service(api, key) as client:
        _, defined = find(client, id_)
        known = {each["id"] for each in client.call("listChannels")["items"]}
        channels = [channel for channel in defined.data["channels"] if channel in known]
        found = [each for channel in channels for each in failures_of(client, channel, state, campaign=id_)]
    show_failures(found, as_json=as_json)


def failures_of(
    client: Client, channel: str, state: State | None, *, campaign: str | None = None
) -> Iterator[dict[str, Any]]:
    """What the API tells of a channel, with `channel` and `state`. `state`: None for both."""
    for each in State if state is None else (state,):
        query = {"state": each.value, "campaign_id": campaign}
        for failure in client.call("listFailures", {"channel_id": channel}, query)["items"]:
            yield {"channel": channel, "state": each.value} | failure


def show_failures(found: list[dict[str, Any]], *, as_json: bool) -> None:
    """As a table, or as JSON."""
    from streams.cli.tables import add, plain_table

    if as_json:
        echo_json(found)
        return
    if not found:
        show("There are none.")
        return
    table = plain_table("id", "channel", "state", "of", "user", ">attempts", "decided (UTC)", "last result")
    for each in found:
        of = each["campaign_id"] + (f", {each['step']}" if each["step"] else "")
        last = (str(each["attempts"]), each["decided_at"] or "", each["result"] or "")
        add(table, each["id"], each["channel"], each["state"], of, each["user_id"], *last)
    show(table)


# --- in words --------------------------------------------------------------------------------------------------------


def _figures(found: dict[str, Any]) -> Iterator[RenderableType]:
    from rich.text import Text

    from streams.runtime.words import printable

    head = f" ({found['kind']} {found['id']}, version {found['version']}, {found['state']})"
    yield Text.assemble((printable(found["name"]), "bold"), head)
    yield Text("Nothing is stored yet." if found["as_of"] is None else f"As of {found['as_of']}:")
    for words in _late(found):
        yield Text(printable(words), style="yellow")
    yield _counts(found)
    if found["journey"] is not None:
        yield _steps(found["journey"])
    for each in found["budgets"]:
        amounts = f"{each['spent']:,.2f} of {each['amount']:,.2f}"
        per = "" if each["per"] == "total" else f" per {each['per']}"
        when = "" if each["per"] == "total" else f" in {printable(each['period'])}"
        yield Text(f"Budget{per}: {amounts} are used{when}.")
    yield from _compared(found)


def _late(found: dict[str, Any]) -> Iterator[str]:
    """What is not known of what it rests on."""
    reading = found["reading"]
    if reading is not None:
        left = f"about {reading['left']:,} of {reading['records']:,} records of the log are still to be read"
        yield f"What rests on {', '.join(reading['events'])} waits: {left}."
    for event, since in found["known_since"].items():
        yield f"{event} is known since {since} alone: the log has lost what was before."


def _counts(found: dict[str, Any]) -> RenderableType:
    """How many occasions came to what."""
    from streams.cli.tables import add, plain_table

    table = plain_table("what became of occasions", ">how many")
    rows = [("sent", found["sent"]), ("control group", found["control"]), ("holdout", found["holdout"])]
    rows += [(f"not sent: {reason}", number) for reason, number in found["withheld"].items()]
    rows += [(f"had to wait: {reason}", number) for reason, number in found["waited"].items()]
    rows += [("replaced by a newer one", found["replaced"]), ("in the queue of the rate", found["waiting_for_rate"])]
    for words, number in rows:
        if number or words == "sent":
            add(table, words, f"{number:,}")
    return table


def _steps(journey: dict[str, Any]) -> RenderableType:
    """Where the users of a journey are."""
    from streams.cli.tables import add, plain_table

    ended = "".join(f", {words.replace('_', ' ')} {number:,}" for words, number in journey["ended"].items())
    caption = f"{journey['entered']:,} have entered, {journey['inside']:,} are inside{ended}."
    table = plain_table("step", ">came to it", ">are there now", caption=caption)
    for step in dict.fromkeys([*journey["steps"], *journey["waiting"]]):
        add(table, step, f"{journey['steps'].get(step, 0):,}", f"{journey['waiting'].get(step, 0):,}")
    return table


def _compared(found: dict[str, Any]) -> Iterator[RenderableType]:
    """Treated users beside those of the control group."""
    from rich.text import Text

    from streams.cli.tables import add, plain_table
    from streams.runtime.words import printable

    open_ = found["open_windows"]
    caption = f"The windows of {open_:,} users are open: they are not compared yet." if open_ else None
    table = plain_table("users", ">treated", ">control", "of", "difference", "claimed", caption=caption)
    overall = found["overall"]
    for each in (overall, *found["rungs"]):
        who = "all" if each["rung"] is None else f"rung {each['rung']}"
        who += "" if each["value"] is None else f" ({each['value']:g})"
        for what, form in (("rate", "+.1%"), ("net", "+,.2f")):
            users = (f"{each['treated_users']:,}", f"{each['control_users']:,}") if what == "rate" else ("", "")
            of = "goal" if what == "rate" else "money"
            add(table, who if what == "rate" else "", *users, of, *_difference(each[what]["difference"], form))
    yield table
    said: dict[str, list[str]] = {}
    for what, of in (("rate", "goal"), ("net", "money")):
        said.setdefault(overall[what]["words"], []).append(of)
    for words, about in said.items():
        yield Text(printable(f"{' and '.join(about).capitalize()}: {words}"))


def _difference(found: Mapping[str, float] | None, form: str) -> tuple[str, str]:
    """The estimate, and the interval that holds however often somebody looks."""
    if found is None:
        return "-", ""
    estimate, low, high = (format(found[name], form) for name in ("estimate", "low_always", "high_always"))
    return estimate, f"{low} to {high}"
