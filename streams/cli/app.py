"""The `tideline` command: all commands together, and what holds for every one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from streams.cli import (
    api,
    campaign,
    campaign_figures,
    campaign_make,
    campaign_templates,
    campaign_trial,
    campaigns,
    catalog,
    channel,
    definitions,
    deletion,
    deliver,
    demo,
    doctor,
    evaluate,
    kafka,
    keys,
    look,
    redrive,
    replay,
    segment,
    simulate,
    store,
    transitions,
    up,
    worker,
)
from streams.cli.options import examples, flowing
from streams.cli.screen import end_on_sigterm
from streams.runtime.allocation import return_large_blocks

HELP = """
Live likelihood scores from an event stream, and an event the moment a user crosses a line.

Start with [bold]tideline demo[/bold]: it needs nothing and shows the whole job on real data.
Then describe your own events and predictions in a catalog ([bold]docs/catalog.md[/bold]), and
[bold]tideline replay[/bold] your files.
"""

EXIT_CODES = """
Exit codes: 0 done, 1 no such user or segment, 2 wrong option, setting or catalog, 3 input that cannot be read or used,
4 the store, 5 a model, 6 the log, 130 interrupted and 143 ended by SIGTERM (run the same command again to go on).
"""

app = typer.Typer(
    name="tideline",
    help=flowing(HELP),
    epilog=flowing(EXIT_CODES),
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"tideline {version('tideline')}")
        except PackageNotFoundError:
            typer.echo("tideline, from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def _root(
    _wanted: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before the command."""


def _add(
    command: Callable[..., None], panel: str | None, shown: Sequence[tuple[str, str]], to: typer.Typer = app
) -> None:
    name = command.__name__.strip("_").replace("_", "-")
    to.command(name, help=flowing(command.__doc__ or ""), epilog=examples(shown), rich_help_panel=panel)(command)


RUN, LOOK, KAFKA, CATALOG = "Run", "Look at what is stored", "The log", "Catalogs"
_add(demo.demo, RUN, demo.EXAMPLES)
_add(replay.replay, RUN, replay.EXAMPLES)
_add(evaluate.evaluate, RUN, evaluate.EXAMPLES)
_add(up.up, RUN, up.EXAMPLES)
_add(worker.worker, RUN, worker.EXAMPLES)
_add(api.api, RUN, api.EXAMPLES)
_add(deliver.deliver, RUN, deliver.EXAMPLES)
_add(campaigns.campaigns, RUN, campaigns.EXAMPLES)
_add(simulate.simulate, RUN, simulate.EXAMPLES)
_add(deletion.delete_user, RUN, deletion.DELETE_EXAMPLES)
_add(look.predictions, LOOK, look.PREDICTIONS_EXAMPLES)
_add(segment.segment, LOOK, segment.EXAMPLES)
_add(transitions.transitions, LOOK, transitions.EXAMPLES)
_add(look.user, LOOK, look.USER_EXAMPLES)
_add(look.dead_letters, LOOK, look.DEAD_LETTERS_EXAMPLES)
_add(deletion.traces, LOOK, deletion.TRACES_EXAMPLES)
_add(store.store, LOOK, store.EXAMPLES)
_add(doctor.doctor, LOOK, doctor.EXAMPLES)
_add(kafka.topics, KAFKA, kafka.TOPICS_EXAMPLES)
_add(kafka.produce, KAFKA, kafka.PRODUCE_EXAMPLES)
_add(kafka.tail, KAFKA, kafka.TAIL_EXAMPLES)
_add(kafka.lag, KAFKA, kafka.LAG_EXAMPLES)
_add(redrive.redrive, KAFKA, redrive.EXAMPLES)
_add(catalog.check, CATALOG, catalog.CHECK_EXAMPLES)
_add(catalog.schema, CATALOG, catalog.SCHEMA_EXAMPLES)
_add(definitions.apply, CATALOG, definitions.APPLY_EXAMPLES)
_add(definitions.export, CATALOG, definitions.EXPORT_EXAMPLES)

key_app = typer.Typer(no_args_is_help=True)
_add(keys.create, None, keys.CREATE_EXAMPLES, key_app)
_add(keys.list_, None, keys.LIST_EXAMPLES, key_app)
_add(keys.revoke, None, keys.REVOKE_EXAMPLES, key_app)
app.add_typer(
    key_app,
    name="keys",
    help="Make, list and revoke keys of the API.",
    epilog=examples(keys.CREATE_EXAMPLES + keys.LIST_EXAMPLES + keys.REVOKE_EXAMPLES),
    rich_help_panel=RUN,
)


campaign_app = typer.Typer(no_args_is_help=True)
_add(campaign.list_, None, campaign.LIST_EXAMPLES, campaign_app)
_add(campaign.show_, None, campaign.SHOW_EXAMPLES, campaign_app)
_add(campaign.pause, None, campaign.PAUSE_EXAMPLES, campaign_app)
_add(campaign.resume, None, campaign.RESUME_EXAMPLES, campaign_app)
_add(campaign.archive, None, campaign.ARCHIVE_EXAMPLES, campaign_app)
_add(campaign.forget, None, campaign.FORGET_EXAMPLES, campaign_app)
_add(campaign.duplicate, None, campaign.DUPLICATE_EXAMPLES, campaign_app)
_add(campaign_figures.figures, None, campaign_figures.FIGURES_EXAMPLES, campaign_app)
_add(campaign_figures.failures, None, campaign_figures.FAILURES_EXAMPLES, campaign_app)
_add(campaign_trial.preview, None, campaign_trial.PREVIEW_EXAMPLES, campaign_app)
_add(campaign_trial.test, None, campaign_trial.TEST_EXAMPLES, campaign_app)
_add(campaign_templates.templates, None, campaign_templates.TEMPLATES_EXAMPLES, campaign_app)
_add(campaign_templates.template, None, campaign_templates.TEMPLATE_EXAMPLES, campaign_app)
_add(campaign_make.make, None, campaign_make.MAKE_EXAMPLES, campaign_app)
app.add_typer(
    campaign_app,
    name="campaign",
    help="Campaigns and journeys of a service: what they do and did, from templates, tried out, on and off.",
    epilog=examples(
        campaign.LIST_EXAMPLES
        + campaign_templates.TEMPLATE_EXAMPLES
        + campaign_trial.PREVIEW_EXAMPLES[:2]
        + campaign_figures.FIGURES_EXAMPLES[:1]
        + campaign.PAUSE_EXAMPLES
    ),
    rich_help_panel=CATALOG,
)

channel_app = typer.Typer(no_args_is_help=True)
_add(channel.list_, None, channel.LIST_EXAMPLES, channel_app)
_add(channel.set_, None, channel.SET_EXAMPLES, channel_app)
_add(channel.unset, None, channel.UNSET_EXAMPLES, channel_app)
_add(channel.renew, None, channel.RENEW_EXAMPLES, channel_app)
_add(channel.failures, None, channel.FAILURES_EXAMPLES, channel_app)
_add(channel.redrive, None, channel.REDRIVE_EXAMPLES, channel_app)
app.add_typer(
    channel_app,
    name="channel",
    help="Channels of campaigns: where they deliver to, and what they did not deliver.",
    epilog=examples(channel.LIST_EXAMPLES + channel.SET_EXAMPLES + channel.REDRIVE_EXAMPLES),
    rich_help_panel=CATALOG,
)


def main() -> None:
    """The entry point of the `tideline` script."""
    return_large_blocks()
    end_on_sigterm()
    app()
