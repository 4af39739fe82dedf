"""`tideline channel`: where channels of campaigns deliver to, and what they did not deliver, through the API."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from streams.cli.campaign import asked_service
from streams.cli.campaign_figures import OfState, State, failures_of, show_failures
from streams.cli.definitions import Api, Key
from streams.cli.options import Json
from streams.cli.screen import echo_json, guarded, show, show_lines

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import RenderableType

    from streams.client import Client

LIST_EXAMPLES = (("tideline channel list", "every channel: where it delivers to, what it lacks, and how it goes"),)
SET_EXAMPLES = (
    ("tideline channel set push --url https://hooks.example.org/messages", "a webhook; shows the secret made for it"),
    ("tideline channel set crm --url https://rest.fra-01.braze.eu --campaign ID --secret-file key.txt", "Braze"),
    ("tideline channel set mail --host smtp.example.org --sender 'Shop <news@shop.example>'", "a mail server"),
)
UNSET_EXAMPLES = (("tideline channel unset push", "what is for it waits from then on, and expires"),)
RENEW_EXAMPLES = (("tideline channel renew push", "another secret; for a day messages are signed with both"),)
FAILURES_EXAMPLES = (("tideline channel failures push", "messages that it has given up, or that may have arrived"),)
REDRIVE_EXAMPLES = (
    ("tideline channel redrive push", "what it has given up is sent again, to who is still to be sent to"),
    ("tideline channel redrive mail --state unknown --campaign warm_cart", "what may have arrived: it may come twice"),
)
ChannelId = Annotated[str, typer.Argument(metavar="ID", help="The id of a channel, as messaging has it.")]


_OPTIONS: Final = {
    "webhook": (("url",), ()),
    "segment": ((), ()),
    "braze": (("url", "campaign"), ()),
    "email": (("host", "sender"), ("port", "security", "user")),
}
"""Kind of a channel -> options that it needs, and that it may have; all may have --secret-file."""


class Security(StrEnum):
    """Of the connection to a mail server."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@guarded()
def list_(api: Api = None, key: Key = None, as_json: Json = False) -> None:
    """List channels of campaigns: where each delivers to, what has to be set, what waits, and the last attempt.

    Needs a key of the role read.
    """
    with asked_service(api, key) as client:
        found = client.call("listChannels")["items"]
    if as_json:
        echo_json(found)
    elif not found:
        show("There are none. Messaging defines them: in a catalog (docs/catalog.md), the console, or the API.")
    else:
        show(_table(found), *(each["warning"] for each in found if each["warning"]))


@guarded()
def set_(  # noqa: PLR0913, PLR0917  one for each option
    id_: ChannelId,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Of a webhook; of Braze the REST address.")
    ] = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="ID", help="Of Braze: its API-triggered campaign.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", metavar="HOST", help="Of a mail server.")] = None,
    port: Annotated[int | None, typer.Option("--port", metavar="PORT", help="Of a mail server (587).")] = None,
    security: Annotated[Security | None, typer.Option("--security", help="Of a mail server (starttls).")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Whom to log in as there.")] = None,
    sender: Annotated[str | None, typer.Option("--sender", metavar="SENDER", help="What stands in From.")] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            "--secret-file", metavar="FILE", help="A file with the secret; - is standard input.", allow_dash=True
        ),
    ] = None,
    api: Api = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Say where a channel delivers to, by the kind that messaging gives it.

    The secret is a webhook's (one is made, and shown this once, where there is none), Segment's write key, Braze's API
    key, or the password of the mail server's user. Without it the one that is there stays. Needs a key of the role
    write.
    """
    options = {
        "url": url,
        "campaign": campaign,
        "host": host,
        "port": port,
        "security": None if security is None else security.value,
        "user": user,
        "sender": sender,
    }
    given = {name: each for name, each in options.items() if each is not None}
    secret = None if secret_file is None else _secret_of(secret_file)
    with asked_service(api, key) as client:
        kind = _kind(client, id_)
        _check_options(kind, given)
        body = {"settings": {"kind": kind} | given} | ({} if secret is None else {"secret": secret})
        found = client.call("setChannel", {"channel_id": id_}, body=body)
    _tell_set(found, as_json=as_json)


@guarded()
def unset(id_: ChannelId, api: Api = None, key: Key = None) -> None:
    """Forget where a channel delivers to, and its secret: what is for it waits, and expires.

    Needs a key of the role write.
    """
    with asked_service(api, key) as client:
        client.call("unsetChannel", {"channel_id": id_})
    show(f"The channel {id_} delivers nowhere.")


@guarded()
def renew(id_: ChannelId, api: Api = None, key: Key = None, as_json: Json = False) -> None:
    """Make another secret for a webhook, shown this once; for a day messages are signed with both.

    Needs a key of the role write.
    """
    with asked_service(api, key) as client:
        found = client.call("renewChannelSecret", {"channel_id": id_})
    _tell_set(found, as_json=as_json)


@guarded()
def failures(id_: ChannelId, state: OfState = None, api: Api = None, key: Key = None, as_json: Json = False) -> None:
    """Show messages that a channel has given up, or of which nobody knows whether they arrived.

    Needs a key of the role read.
    """
    with asked_service(api, key) as client:
        found = list(failures_of(client, id_, state))
    show_failures(found, as_json=as_json)


@guarded()
def redrive(
    id_: ChannelId,
    state: Annotated[
        State, typer.Option("--state", help="Those that were given up (dead), or that may come twice (unknown).")
    ] = State.DEAD,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="ID", help="Only those of this campaign or journey.")
    ] = None,
    message: Annotated[
        list[str] | None, typer.Option("--message", metavar="ID", help="Only this one; may be given several times.")
    ] = None,
    api: Api = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Send such messages again, under their ids, to who is still to be sent to. Needs a key of the role write."""
    asked = {"state": state.value, "campaign_id": campaign, "ids": message or None}
    body = {name: value for name, value in asked.items() if value is not None}
    with asked_service(api, key) as client:
        found = client.call("redriveChannel", {"channel_id": id_}, body=body)
    if as_json:
        echo_json(found)
    else:
        show(f"{found['redriven']:,} are sent again.")


# --- parts -----------------------------------------------------------------------------------------------------------


def _kind(client: Client, id_: str) -> str:
    """Of a channel, as messaging has it. Raises NotStored, and SettingsError for a kind without settings."""
    from config.channel_settings import NEEDS_SETTINGS
    from config.errors import NotStored, SettingsError

    kinds = {each["id"]: each["kind"] for each in client.call("listChannels")["items"]}
    found = kinds.get(id_)
    if found is None:
        there = ", ".join(name for name, kind in kinds.items() if kind is not None) or "none"
        raise NotStored(f"messaging has no channel {id_[:40]!r}; there are: {there}")
    if found not in NEEDS_SETTINGS:
        raise SettingsError(f"the channel {id_} is of the kind {found}, which needs no settings: it delivers already")
    return str(found)


def _check_options(kind: str, given: Collection[str]) -> None:
    """Raises SettingsError for options that a channel of this kind lacks, or cannot have."""
    from config.errors import SettingsError

    needed, possible = _OPTIONS[kind]
    lacking = [f"--{name}" for name in needed if name not in given]
    wrong = [f"--{name}" for name in given if name not in (*needed, *possible)]
    if lacking or wrong:
        words = [f"needs {' and '.join(lacking)}"] if lacking else []
        words += [f"has no {' and '.join(wrong)}"] if wrong else []
        raise SettingsError(f"a channel of the kind {kind} {', and '.join(words)}")


def _secret_of(file: Path) -> str:
    """Without the end of its line. Raises ConfigError for a file that cannot be read, or has none."""
    import sys

    from config.errors import ConfigError

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not (found := text.rstrip("\r\n")):
        raise ConfigError(f"{file} is empty: the secret is expected there")
    return found


def _tell_set(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json(found)
        return
    show(f"The channel {found['id']} delivers to {_target(found)}.")
    if found["lacks"] is not None:
        show(f"It lacks its {found['lacks']}: what is for it waits, and expires.")
    if found["warning"] is not None:
        show(found["warning"])
    if found["secret"] is not None:
        show("Its secret, which is not shown again:")
        show_lines(found["secret"])


def _table(found: list[dict[str, Any]]) -> RenderableType:
    from streams.cli.tables import add, plain_table

    table = plain_table("id", "kind", "delivers to", "lacks", ">waiting", ">dead", ">unknown", "last attempt")
    for each in found:
        failing = each["failing"]
        last = "" if failing is None else f"{failing['result']} (circuit {failing['circuit']})"
        numbers = (f"{each[name]:,}" for name in ("waiting", "dead", "unknown"))
        add(table, each["id"], each["kind"] or "", _target(each), each["lacks"] or "", *numbers, last)
    return table


def _target(channel: dict[str, Any]) -> str:
    """Where it delivers to."""
    settings = channel["settings"]
    if settings is None:
        return {"log": "the log", "topic": "campaign-triggers"}.get(channel["kind"], "")
    if settings["kind"] == "email":
        return f"{settings['host']}:{settings['port']}"
    return str(settings.get("url", "Segment"))
