"""`tideline campaign templates` and `template`: ready-made campaigns and journeys, filled in for a prediction."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from streams.cli.campaign import asked_service, printable_lines
from streams.cli.campaign_file import Written
from streams.cli.campaign_make import make_written, tell_made
from streams.cli.definitions import Api, Key
from streams.cli.options import Json
from streams.cli.screen import echo_json, guarded, show, show_lines

TEMPLATES_EXAMPLES = (
    ("tideline campaign templates", "the strategies that there are, and for whom each is meant"),
    ("tideline campaign templates --language fr", "in French"),
)
TEMPLATE_EXAMPLES = (
    ("tideline campaign template reminder --prediction orders_7d --channel push", "a definition to be changed"),
    (
        "tideline campaign template incentive --prediction orders_7d --channel push --min 40 --max 70 --make",
        "for these scores, and made at once, on a dry run",
    ),
)


class Language(StrEnum):
    """Of the texts."""

    ENGLISH = "en"
    FRENCH = "fr"


class Category(StrEnum):
    """Of a prediction's scores."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


InLanguage = Annotated[Language, typer.Option("--language", help="Of the texts.")]


@guarded()
def templates(language: InLanguage = Language.ENGLISH, api: Api = None, key: Key = None, as_json: Json = False) -> None:
    """List ready-made campaigns and journeys for the strategies of the field. Needs a key of the role read."""
    from streams.cli.tables import add, plain_table

    with asked_service(api, key) as client:
        found = client.templates()
    if as_json:
        echo_json(found)
        return
    table = plain_table("template", "makes", "for", "what")
    for each in found:
        scores = each["range"] if isinstance(each["range"], str) else "{:g} to {:g}".format(*each["range"])
        whom = f"churn, {scores}" if each["prediction_kind"] == "churn" else scores
        add(table, each["name"], each["kind"], whom, each["description"][language.value])
    show(table)


@guarded()
def template(  # noqa: PLR0913, PLR0917  one for each option
    name: Annotated[str, typer.Argument(metavar="NAME", help="As tideline campaign templates names it.")],
    prediction: Annotated[str, typer.Option("--prediction", metavar="ID", help="By whose scores.")],
    channel: Annotated[
        list[str], typer.Option("--channel", metavar="CHANNEL", help="By which it is sent; may be given several times.")
    ],
    category: Annotated[
        Category | None, typer.Option("--category", help="For whom; else whom it is meant for.")
    ] = None,
    least: Annotated[float | None, typer.Option("--min", min=0, max=100, help="For scores from here on.")] = None,
    most: Annotated[float | None, typer.Option("--max", min=0, max=100, help="For scores below this.")] = None,
    language: InLanguage = Language.ENGLISH,
    order_value: Annotated[
        float | None, typer.Option("--order-value", min=0, help="What an order is usually worth, for costs.")
    ] = None,
    recommender: Annotated[
        str | None,
        typer.Option("--recommender", metavar="CHANNEL", help="The webhook that is asked for recommendations."),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Another id than that of template and prediction.")
    ] = None,
    make: Annotated[bool, typer.Option("--make", help="Make it, with its segment, on a dry run.")] = False,
    api: Api = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Fill one in for a prediction, and print it as a part of a catalog, to be changed; or make it.

    Nothing is stored without --make, which needs a key of the role write; else read will do.
    """
    more: dict[str, Any] = {
        "category": None if category is None else category.value,
        "min": least,
        "max": most,
        "language": language.value,
        "order_value": order_value,
        "recommender": recommender,
        "id": id_,
    }
    with asked_service(api, key) as client:
        given = {option: value for option, value in more.items() if value is not None}
        found = client.fill_template(name, prediction, channel, **given)
        made = make_written(client, _written(found)) if make else None
    if as_json:
        echo_json(found)
    elif made is not None:
        tell_made(made)
    else:
        _print(found)


def _written(found: dict[str, Any]) -> Written:
    """As it stands in a file."""
    segment = found["segment"]
    return Written(found["kind"], found["id"], found["definition"], None if segment is None else segment["definition"])


def _print(found: dict[str, Any]) -> None:
    """As it stands in a catalog."""
    from config.yaml_text import dump

    segment = found["segment"]
    segments = {} if segment is None else {"segments": {segment["id"]: segment["definition"]}}
    whole = {**segments, f"{found['kind']}s": {found["id"]: found["definition"]}}
    show_lines(*printable_lines(dump(whole)).splitlines())
