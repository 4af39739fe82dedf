"""`tideline campaign preview` and `test`: what one would do, what a user would be sent, and a message to be seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.campaign import Id, asked_service, find
from streams.cli.campaign_file import Written, written_in
from streams.cli.definitions import Api, Key
from streams.cli.options import Json
from streams.cli.screen import echo_json, guarded, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from streams.client import Client

PREVIEW_EXAMPLES = (
    ("tideline campaign preview warm_cart", "whom it would reach now, with what, and what it would cost"),
    ("tideline campaign preview warm_cart --user ann", "what ann would be sent, and all that speaks against it"),
    ("tideline campaign preview --file spring.yaml", "the same of a definition, or a template, that is not made yet"),
)
TEST_EXAMPLES = (
    ("tideline campaign test warm_cart --user ann --channel push", "sent to be seen, and counted nowhere"),
    ("tideline campaign test warm_cart --user ann --channel push --event '{\"products\": []}'", "with such an event"),
    ("tideline campaign test warm_cart --user ann --channel mail --address me@shop.example", "to you in ann's place"),
)
SomeId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The id of a campaign or journey.")]
Step = Annotated[str | None, typer.Option("--step", metavar="STEP", help="Which message of a journey; else its first.")]
Event = Annotated[
    str | None, typer.Option("--event", metavar="JSON", help="Properties of the event that triggers it, as an object.")
]


@guarded()
def preview(
    id_: SomeId = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="A definition as in a catalog (YAML); with ID as an edit of it."),
    ] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="What this user would be sent.")] = None,
    step: Step = None,
    event: Event = None,
    api: Api = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show what one would do if it came to everybody in its audience now, or what it would send to one user.

    Nothing is sent, counted or used. Needs a key of the role read; a message with recommendations asks for them with
    one of the role write alone.
    """
    from config.errors import SettingsError

    if id_ is None and file is None:
        raise SettingsError("preview what? Give the ID of a campaign or journey, or a definition with --file")
    if step is not None and user is None:
        raise SettingsError("--step belongs to --user: a preview of everybody has all steps")
    if event is not None and user is None:
        raise SettingsError("--event belongs to --user: it is for a message")
    properties = _properties(event)
    written = None if file is None else written_in(file)
    definition = None if written is None else _named(written)
    with asked_service(api, key) as client:
        if id_ is not None:
            stored = find(client, id_).defined.data["definition"]
            definition = definition or (None if user is not None else stored)
        if user is None:
            found = client.call("previewCampaign", body={"definition": definition} | _segment(written))
        else:
            _check_made(client, written)
            asked = {"id": id_, "definition": definition, "user_id": user, "step": step, "event": properties}
            body = {name: value for name, value in asked.items() if value is not None}
            found = client.call("previewMessage", body=body)
    if as_json:
        echo_json(found)
    else:
        show(*(_audience(found) if user is None else _message(found)))


@guarded()
def test(  # noqa: PLR0913, PLR0917  one for each option
    id_: Id,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="For whom it is rendered.")],
    channel: Annotated[str, typer.Option("--channel", metavar="CHANNEL", help="One of its channels, which sends it.")],
    address: Annotated[
        str | None, typer.Option("--address", metavar="ADDRESS", help="Of an e-mail: who gets it in the user's place.")
    ] = None,
    step: Step = None,
    event: Event = None,
    api: Api = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Send a message of one to be seen. It is counted nowhere, and of the rules consent alone is asked.

    Without --address it goes to the user. Where the channel is not set up it waits for an hour, and the exit code is 1.
    Needs a key of the role write.
    """
    from config.errors import NotStored

    asked = {"user_id": user, "channel": channel, "address": address, "step": step, "event": _properties(event)}
    with asked_service(api, key) as client:
        kind, _ = find(client, id_)
        body = {name: value for name, value in asked.items() if value is not None}
        found = client.call(f"test{kind.title()}", {f"{kind}_id": id_}, body=body)
    if as_json:
        echo_json(found)
    else:
        _show_queued(found)
    if (lacks := found["lacks"]) is not None:
        words = f"the channel {channel} has no {lacks}: the test waits, and is given up after an hour"
        raise NotStored(f"{words}. Set it up: tideline channel set {channel} (--help tells how for each kind)")


def _show_queued(found: dict[str, Any]) -> None:
    to = "" if found["address"] is None else f" to {found['address']}"
    show(f"Queued as {found['id']} for the channel {found['channel']}{to}:")
    show(*_texts(found["texts"]))
    show("tideline channel list shows whether it waits, and how the last attempt ended.")


def _named(written: Written) -> dict[str, Any]:
    """As the API is asked about it."""
    return written.definition if written.id is None else {"id": written.id, **written.definition}


def _segment(written: Written | None) -> dict[str, Any]:
    """The filter of its segment, which need not be made either."""
    if written is None or written.segment is None:
        return {}
    return {"segment": written.segment.get("filter")}


def _check_made(client: Client, written: Written | None) -> None:
    """Of one user it is asked whether they are in the segment. Raises NotStored where that is not made yet."""
    from config.errors import NotStored

    if written is None or written.segment is None:
        return
    id_ = str(written.definition["segment"])
    if id_ not in {each["id"] for each in client.segments()}:
        words = "nobody is in it. Leave out --user, or make it first: tideline campaign make"
        raise NotStored(f"the segment {id_[:63]!r} is not made yet, and {words}")


def _properties(event: str | None) -> dict[str, Any] | None:
    """Raises SettingsError for what is no object."""
    import json

    from config.errors import SettingsError

    if event is None:
        return None
    try:
        found = json.loads(event)
    except ValueError as error:
        raise SettingsError(f"--event is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError("--event: expected the properties as an object, such as '{\"products\": []}'")
    return found


# --- in words --------------------------------------------------------------------------------------------------------


def _audience(found: dict[str, Any]) -> Iterator[RenderableType]:
    from rich.text import Text

    from streams.cli.tables import add, plain_table
    from streams.runtime.words import printable

    table = plain_table("now", ">users")
    add(table, "in the audience", f"{found['users']:,}")
    for reason, number in found["left_out"].items():
        add(table, f"left out: {reason}", _number(number, ",.0f"))
    add(table, "may be sent to", f"{found['reachable']:,}")
    for words, name in (("expected in the holdout", "holdout"), ("in the control group", "control")):
        add(table, words, _number(found[name], ",.0f"))
    add(table, "and sent to", _number(found["messages"], ",.0f"))
    add(table, "of them, who do it anyway", _number(found["anyway"], ",.0f"))
    yield table
    if found["no_basis"] is not None:
        yield Text(f"Who would do it anyway is not known: {printable(found['no_basis'])}.")
    for offer in found["offers"]:
        yield _offer(offer)


def _offer(offer: dict[str, Any]) -> RenderableType:
    from streams.cli.tables import add, plain_table

    of = "Offer" if offer["step"] is None else f"Offer of {offer['step']}"
    words = f"{offer['without_score']:,} have no score, and get nothing." if offer["without_score"] else ""
    budget = offer["budget"]
    if budget is not None:
        amounts = f"{budget['amount']:,.2f} per {budget['per']}; all at once would take {budget['needed']:,.2f}"
        words = f"{words} Budget: {amounts}.".strip()
    columns = (f">{offer['unit']}", ">users", ">messages", ">anyway", ">cost at least", ">cost at most")
    table = plain_table(*columns, title=of, caption=words or None)
    for rung in offer["rungs"]:
        costs = (_number(rung[name], ",.2f") for name in ("cost_at_least", "cost_at_most"))
        expected = (_number(rung[name], ",.0f") for name in ("messages", "anyway"))
        add(table, f"{rung['value']:g}", f"{rung['users']:,}", *expected, *costs)
    total = (_number(offer[name], ",.2f") for name in ("cost_at_least", "cost_at_most"))
    add(table, "all", "", "", "", *total, style="bold")
    return table


def _number(number: float | None, form: str) -> str:
    return "not known" if number is None else format(number, form)


def _message(found: dict[str, Any]) -> Iterator[RenderableType]:
    from rich.text import Text

    from streams.runtime.words import printable

    step = "" if found["step"] is None else f", step {found['step']}"
    yield Text(printable(f"{found['user_id']}{step}: group {found['group']}."))
    offer = found["offer"]
    if offer is not None:
        held = ", held down by an earlier one" if offer["held_down"] else ""
        yield Text(printable(f"Offer: {offer['value']:g} {offer['unit']}{held}."))
    if found["failed"] is not None:
        yield Text(printable(f"The message fails: {found['failed']}."), style="yellow")
    if found["recommendations"] == "not-asked":
        yield Text("Nobody was asked for recommendations: that takes a key of the role write.", style="yellow")
    for part in found["channels"]:
        to = "" if part["address"] is None else f" to {part['address']}"
        closed = "" if part["open"] else " (the user has not agreed to it, or is not reached by it)"
        yield Text(printable(f"By {part['channel']}{to}{closed}:"), style="bold")
        yield from _texts(part["texts"])
    for each in found["against"]:
        until = "" if each["until"] is None else f"; asked again at {each['until']}"
        yield Text(printable(f"Against it, {each['reason']}: {each['words']}{until}."), style="yellow")
    if not found["against"] and found["failed"] is None:
        yield Text("Nothing speaks against it.")


def _texts(texts: Mapping[str, str]) -> Iterator[RenderableType]:
    from rich.text import Text

    from streams.cli.campaign import printable_lines

    for part, text in texts.items():
        lines = printable_lines(text).splitlines() or [""]
        yield Text.assemble((f"  {part}: ", "dim"), "\n    ".join(lines))
