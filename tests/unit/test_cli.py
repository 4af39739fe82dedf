"""The command line without a store: help, exit codes, catalogs, messages."""

from __future__ import annotations

import importlib
import io
import json
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from config import errors
from config.errors import SettingsError, TidelineError
from config.schema import json_schema
from config.settings import load_settings
from streams.cli.app import app
from streams.cli.screen import fail, guarded, show, warn
from streams.cli.tables import add, plain_table
from streams.runtime import job
from streams.runtime.up_parts import ApiPart, CampaignsPart, DeliverPart, StorePart, UpJob
from tests.conftest import ROOT

NESTED = [
    f"{group.name} {info.name}"
    for group in app.registered_groups
    if group.typer_instance is not None
    for info in group.typer_instance.registered_commands
]
COMMANDS = sorted([*(info.name or "" for info in app.registered_commands), *NESTED])
CATALOG = """
version: 1
name: My [bold]shop
predictions:
  orders_7d:
    name: Orders within 7 days
    goal: {did: Order Completed}
    window: 7d
"""


def run(*args: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, list(args), env={"COLUMNS": "100", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(CATALOG)
    return path


def test_all_commands_are_there() -> None:
    wanted = {
        "api",
        "apply",
        "campaign archive",
        "campaign duplicate",
        "campaign failures",
        "campaign figures",
        "campaign forget",
        "campaign list",
        "campaign make",
        "campaign pause",
        "campaign preview",
        "campaign resume",
        "campaign show",
        "campaign template",
        "campaign templates",
        "campaign test",
        "campaigns",
        "channel failures",
        "channel list",
        "channel redrive",
        "channel renew",
        "channel set",
        "channel unset",
        "check",
        "dead-letters",
        "delete-user",
        "deliver",
        "demo",
        "doctor",
        "evaluate",
        "export",
        "keys create",
        "keys list",
        "keys revoke",
        "lag",
        "predictions",
        "produce",
        "redrive",
        "replay",
        "schema",
        "segment",
        "simulate",
        "store",
        "tail",
        "topics",
        "traces",
        "transitions",
        "up",
        "user",
        "worker",
    }
    assert set(COMMANDS) == wanted


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert "Examples" in out
    assert f"tideline {command}" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_about_the_command_line_has_every_command_and_option(command: str) -> None:
    page = (ROOT / "docs/cli.md").read_text()
    section = re.search(rf"^## `tideline {command}\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert section is not None
    found: Any = typer.main.get_group(app)
    for name in command.split():
        found = found.commands[name]
    options = {name for parameter in found.params for name in parameter.opts if name[:2] == "--"}
    assert {name for name in options - {"--help"} if name not in section[0]} == set()


def test_help_shows_the_exit_codes() -> None:
    code, out, _ = run("--help")
    assert code == 0
    for number in ("0", "1", "2", "3", "4", "5", "6", "130", "143"):
        assert re.search(rf"\b{number}\b", out[out.index("Exit codes") :])


def test_the_page_has_every_exit_code_of_an_error() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    listed = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE) for code in row.split(",")}
    codes = {getattr(errors, name).exit_code for name in errors.__all__ if name != "Problem"}
    assert listed == codes | {0, 130, 143}


def test_the_version_is_shown() -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert re.match(r"tideline \S+", out)


def test_a_catalog_that_is_right_is_summed_up(catalog: Path) -> None:
    code, out, err = run("check", str(catalog))
    assert (code, err) == (0, "")
    assert "My [bold]shop" in out
    assert "did Order Completed" in out
    assert "Segment-spec JSON" in out


def test_check_says_of_what_a_catalog_keeps_more(catalog: Path) -> None:
    kept = "remember: {Cart Viewed: {properties: [products, total], cleared_by: [Order Completed]}}\n"
    catalog.write_text(f"{CATALOG}history: [Product Viewed, Cart Viewed]\n{kept}")
    _, out, _ = run("check", str(catalog))
    assert "  history   Product Viewed, Cart Viewed\n" in out
    assert "  remember  products, total of Cart Viewed, until Order Completed\n" in out
    assert "messaging" not in out
    found = json.loads(run("check", str(catalog), "--json")[1])
    assert found["history"] == ["Product Viewed", "Cart Viewed"]
    assert found["remember"] == {"Cart Viewed": ["products", "total"]}
    assert (found["holdout"], found["channels"]) == (None, {})


def test_every_problem_of_a_catalog_is_shown(catalog: Path) -> None:
    catalog.write_text(CATALOG.replace("7d\n", "91d\n") + "  x[y]: {}\n")
    code, out, err = run("check", str(catalog))
    assert (code, out) == (2, "")
    assert "line 8, predictions.orders_7d.window" in err
    assert "found    '91d'" in err
    assert "expected whole hours, from 1h to 90d" in err
    assert "x[y]" in err


MESSAGES = """
messaging: {channels: {push: {kind: log}, mail: {kind: log}}}
campaigns:
  cart:
    name: Cart
    segment: orders_7d.high
    conversion: {event: Order Completed}
    channels: [push, mail]
    message:
      parts:
        title: Hello {{ user.name }}
        body: |
          Your score is {{ score }},
          and {{ offer.value }} is off
      by_channel:
        mail: {subject: "{{ traits.name }}"}
journeys:
  back:
    name: Back
    segment: orders_7d.low
    conversion: {event: Order Completed}
    channels: [push]
    steps:
      word: {send: {parts: {body: "{% if %}"}}}
"""


def test_mistakes_in_messages_are_problems_of_the_catalog(catalog: Path) -> None:
    catalog.write_text(CATALOG + MESSAGES)
    code, out, _ = run("check", str(catalog), "--json")
    assert code == 2
    found = [(each["line"], each["path"], each["found"]) for each in json.loads(out)["problems"]]
    text = catalog.read_text()
    body, mail, word = (text[: text.index(key)].count("\n") + 1 for key in ("body: |", "mail: {sub", "word: {"))
    assert found == [
        (body, "campaigns.cart.message.parts.body", "body, line 2: 'offer', which is never known"),
        (mail, "campaigns.cart.message.by_channel.mail.subject", "subject, line 1: 'traits', which is never known"),
        (
            word,
            "journeys.back.steps.word.send.parts.body",
            "body, line 1: Expected an expression, got 'end of statement block'",
        ),
    ]
    code, _, err = run("check", str(catalog))
    assert (code, "the key offer beside it" in err) == (2, True)
    catalog.write_text(
        catalog.read_text()
        .replace("offer.value", "likelihood")
        .replace("traits.", "user.")
        .replace("%}", "score %}{% endif %}")
    )
    code, out, err = run("check", str(catalog))
    assert (code, err, "Journeys" in out) == (0, "", True)


def test_a_script_gets_the_problems_as_json(catalog: Path) -> None:
    code, out, _ = run("check", str(catalog), "--json")
    found = {
        "ok": True,
        "name": "My [bold]shop",
        "predictions": ["orders_7d"],
        "segments": [],
        "campaigns": [],
        "journeys": [],
        "history": [],
        "remember": {},
        "holdout": None,
        "channels": {},
        "problems": [],
        "hints": [],
    }
    assert (code, json.loads(out)) == (0, found)
    catalog.write_text(CATALOG.replace("version: 1", "version: 2"))
    code, out, _ = run("check", str(catalog), "--json")
    (problem,) = json.loads(out)["problems"]
    assert code == 2
    assert (problem["line"], problem["path"]) == (2, "version")
    assert set(problem) == {"line", "path", "found", "expected"}


def test_the_schema_is_that_of_the_types() -> None:
    code, out, _ = run("schema")
    assert (code, json.loads(out)) == (0, json_schema())


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["replay", "x.csv"], 2, "--catalog"),
        (["replay", "x.csv", "--catalog", "nope.yaml"], 2, "no such file"),
        (["replay", "x.csv", "--catalog", "CATALOG", "--store", "http://x"], 2, "redis://"),
        (["replay", "x.csv", "--catalog", "CATALOG", "--report", "/no/such/folder/r.html"], 3, "does not exist"),
        (["evaluate", "x.csv", "--catalog", "CATALOG", "--compare", "magic"], 2, "magic"),
        (["evaluate", "x.csv", "--catalog", "CATALOG", "--prediction", "nope"], 2, "orders_7d"),
        (["predictions"], 4, "tideline demo"),
        (["user", "ann"], 4, "holds nothing yet"),
        (["segment", "x"], 4, "holds nothing yet"),
        (["store"], 4, "holds nothing yet"),
        (["predictions", "--store", "unix:///no/such/socket"], 4, "does not answer"),
    ],
)
def test_mistakes_are_told_in_one_message_with_their_exit_code(
    args: list[str], code: int, words: str, catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = run(*[str(catalog) if arg == "CATALOG" else arg for arg in args])
    assert (found, out) == (code, "")
    assert words in re.sub(r"\s+", " ", err)
    assert "Traceback" not in err


class _Store(StorePart):
    @property
    def url(self) -> str:
        return "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("part", "module", "name"),
    [
        (ApiPart, "streams.api.serve", "run_api"),
        (DeliverPart, "streams.runtime.deliveries.serve", "run_deliveries"),
        (CampaignsPart, "streams.runtime.campaigns.serve", "run_campaigns"),
    ],
)
def test_without_kafka_all_parts_use_the_embedded_log_whatever_the_environment_says(
    part: type[ApiPart | DeliverPart | CampaignsPart],
    module: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIDELINE_API_LOG", "kafka")
    found: list[str] = []
    monkeypatch.setattr(importlib.import_module(module), name, lambda given, *_: found.append(given.settings.api_log))
    up = UpJob(load_settings(), tmp_path / "shop.yaml", tmp_path, tmp_path)
    assert run(*part(up, _Store(tmp_path), None).command())[0] == 0
    assert found == ["embedded"]
    assert run(*part(up, _Store(tmp_path), None).command(), "--kafka", "broker:9092")[0] == 2


@pytest.mark.parametrize(("rights", "warned"), [(0o700, False), (0o750, True), (0o705, True)])
@pytest.mark.parametrize("command", ["replay", "store"])
def test_a_data_directory_that_others_can_open_is_told(
    command: str, rights: int, warned: bool, catalog: Path, tmp_path: Path
) -> None:
    data = tmp_path / "my data"
    (data / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest")  # nothing starts in here
    data.chmod(rights)
    args = {"replay": ["x.csv", "--catalog", str(catalog)], "store": []}
    code, _, err = run(command, *args[command], "--data-dir", str(data))
    assert code in (3, 4)
    assert (f"Close it: chmod 700 '{data}'" in err) == warned


def test_the_demo_makes_directories_for_their_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_run(*_: object) -> None:
        raise SettingsError("no run in a test")

    monkeypatch.setattr(job, "run_job", no_run)
    monkeypatch.chdir(tmp_path)
    code, _, err = run("demo")
    assert (code, "Warning" in err) == (2, False)
    assert [stat.S_IMODE((tmp_path / made).stat().st_mode) for made in (".tideline", ".tideline/demo")] == [0o700] * 2


def test_expected_errors_become_messages_and_bugs_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    def raising(error: BaseException) -> None:
        @guarded("Do it again.")
        def command() -> None:
            raise error

        command()

    with pytest.raises(typer.Exit) as ended:
        raising(SettingsError("a [red]setting"))
    assert ended.value.exit_code == 2
    with pytest.raises(typer.Exit) as ended:
        raising(TidelineError("anything"))
    assert ended.value.exit_code == 1
    with pytest.raises(typer.Exit) as ended:
        raising(KeyboardInterrupt())
    assert ended.value.exit_code == 130
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())
    err = capsys.readouterr().err
    assert "a [red]setting" in err
    assert "Do it again." in err


def test_without_a_terminal_nothing_is_broken_and_nothing_coloured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = "word " * 60
    table = plain_table("column", "another", title=f"title {long}", caption=f"caption {long}")
    add(table, f"cell {long}", "x")
    show(f"[bold]bold[/bold] {long}", table)
    warn(long, "second")
    with pytest.raises(typer.Exit):
        fail(SettingsError(f"found {long}"))
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    lines = shown.out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["bold", "", "title", "column", "cell", "caption"]
    assert [line.partition(" ")[0] for line in shown.err.splitlines()] == ["Warning:", "second", "Error:"]


def test_on_a_terminal_lines_are_broken_at_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen)
    show("[bold]bold[/bold] " + "word " * 30)
    assert "\x1b[1m" in screen.getvalue()
    assert max(len(line) for line in screen.getvalue().splitlines()) < 60


def test_ctrl_c_inside_of_compiled_code_is_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    """Seen once: a signal arrived while compiled code gave an array back."""

    @guarded("Run it again.")
    def interrupted() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as cause:
            raise SystemError("returned a result with an exception set") from cause

    @guarded()
    def broken() -> None:
        raise SystemError("a bug")

    with pytest.raises(typer.Exit) as ended:
        interrupted()
    assert ended.value.exit_code == 130
    assert "Interrupted. Run it again." in capsys.readouterr().err
    with pytest.raises(SystemError, match="a bug"):
        broken()


@pytest.mark.parametrize("command", ["deliver", "campaigns"])
@pytest.mark.parametrize("port", ["0", "65536"])
def test_a_port_that_cannot_be_one_is_told_by_its_option(command: str, port: str) -> None:
    code, _, err = run(command, "--port", port)
    assert (code, "Invalid value for '--port'" in err) == (2, True)
    assert "TIDELINE_" not in err
