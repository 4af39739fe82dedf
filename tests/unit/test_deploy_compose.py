"""docker-compose.yml says what the product understands, in the versions that are tested, and publishes nothing."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from config.loader import load_catalog
from config.settings import PREFIX, load_settings
from streams.adapters.kafka_jars import KAFKA_VERSION, listed_jars
from streams.adapters.valkey_server import _binary
from streams.cli.app import app
from tests.conftest import ROOT, need
from tests.unit.deploy_world import (
    API_PORT,
    PASSWORDS,
    WORKER_PORT,
    compose,
    docker_compose,
    final,
    own_services,
    project,
    service,
    tag,
)


def command_line() -> Any:
    """The group of all commands."""
    return typer.main.get_command(app)


def read_doc() -> str:
    return (ROOT / "docs/deploy.md").read_text(encoding="utf-8")


def raw() -> Any:
    """The file as it was written, before anything is put into it."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_docker_compose_reads_it_without_a_warning() -> None:
    done = docker_compose("config", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", PASSWORDS)
def test_a_password_that_is_not_set_is_asked_for(name: str) -> None:
    done = docker_compose("config", "--quiet", variables={each: "x" for each in PASSWORDS if each != name})
    assert done.returncode != 0
    assert re.search(rf"required variable {name} is missing a value: a .*password", done.stderr)


def test_no_password_stands_in_the_file() -> None:
    secret = re.compile(r"PASSWORD|SECRET|AUTH$|_KEY$")
    values = {
        name: value
        for found in raw()["services"].values()
        for name, value in found.get("environment", {}).items()
        if secret.search(name) and value is not None
    }
    assert values
    assert all(value.startswith("${") and ":?" in value for value in values.values()), values
    (stored,) = re.findall(r"requirepass (.*)", raw()["configs"]["valkey"]["content"])
    assert stored.startswith('"${VALKEY_PASSWORD:?')


def test_no_variable_of_the_file_alone_looks_like_a_setting() -> None:
    """Whoever exports one of those would be told by the command line that it is no setting."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = set(re.findall(rf"\$\{{({PREFIX}\w+)", text))
    assert used
    assert used <= {PREFIX + name.upper() for name in type(load_settings()).model_fields}


def test_the_documents_name_every_variable_with_its_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults: dict[str, str] = dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?", text))
    defaults |= {name: "none" for name, value in raw()["services"]["worker"]["environment"].items() if value is None}
    told: dict[str, str] = {}
    for names, values in re.findall(r"^\| (`[A-Z].*?) \| (.*?) \| ", read_doc(), re.MULTILINE):
        told |= dict(zip(names.split(", "), values.split(", "), strict=True))
    expected = {f"`{name}`": f"`{value}`" if value not in ("", "none") else value for name, value in defaults.items()}
    assert told == {name: value or "must be set" for name, value in expected.items()}


@pytest.mark.parametrize("name", own_services())
def test_the_settings_are_settings_with_values_that_can_be_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = service(name).get("environment", {})
    assert all(variable.startswith(PREFIX) for variable in variables)
    for variable, value in variables.items():
        if value is not None:
            monkeypatch.setenv(variable, value)
    settings = load_settings()
    if variables:
        assert settings.kafka_bootstrap_servers == "kafka:9092"
        assert settings.shards > 1


def test_the_commands_are_commands() -> None:
    group = command_line()
    assert own_services()
    for name in own_services():
        first, *others = service(name)["command"]
        group.commands[first].make_context(name, others)  # every option exists, and its value can be read


def test_workers_can_be_many() -> None:
    worker = service("worker")
    assert "container_name" not in worker
    assert not worker.get("ports")
    assert worker["command"] == ["worker", "--catalog", "/etc/tideline/catalog.yaml"]


@pytest.mark.parametrize("name", ["worker", "api", "deliver", "campaigns"])
def test_what_serves_waits_for_what_it_needs(name: str) -> None:
    conditions = {other: found["condition"] for other, found in service(name)["depends_on"].items()}
    assert conditions == {
        "kafka": "service_healthy",
        "valkey": "service_healthy",
        "topics": "service_completed_successfully",
    }
    assert service("topics")["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert service("topics")["restart"] == "no"


@pytest.mark.parametrize("name", own_services())
def test_who_answers_is_asked_for_its_health_and_nobody_else(name: str) -> None:
    """The image asks for a worker's web view; a command that has none would be ended for it."""
    check = service(name).get("healthcheck", {})
    command = service(name)["command"][0]
    assert check.get("disable", False) == (command not in ("worker", "api", "deliver", "campaigns"))
    assert (f"'127.0.0.1', {API_PORT}," in str(check.get("test"))) == (command == "api")


def test_webhooks_are_sent_from_kafka_and_checked_where_the_image_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in service("deliver")["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert (settings.api_log, settings.webhooks_port) == ("kafka", WORKER_PORT)
    assert not settings.webhooks_private


def test_campaigns_read_kafka_and_are_checked_where_the_image_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in service("campaigns")["environment"].items():
        if value is not None:
            monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert (settings.api_log, settings.campaigns_port) == ("kafka", WORKER_PORT)
    assert settings.deletion_key is not None


def test_the_api_takes_events_into_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in service("api")["environment"].items():
        if value is not None:
            monkeypatch.setenv(variable, value)
    (image,) = [each.pairs() for each in final("ENV")]
    monkeypatch.setenv("TIDELINE_API_HOST", image["TIDELINE_API_HOST"])
    settings = load_settings()
    assert (settings.api_log, settings.api_host, settings.api_port) == ("kafka", "0.0.0.0", API_PORT)
    assert settings.redis_url is not None
    assert "valkey:6379" in settings.redis_url


def test_the_catalog_is_there_and_cannot_be_changed() -> None:
    (mount,) = service("worker")["volumes"]
    assert mount["read_only"] is True
    assert mount["target"] in service("worker")["command"]
    assert load_catalog(Path(mount["source"])).predictions


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for found in compose()["services"].values() for port in found.get("ports", [])]
    assert published
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert {port["target"] for port in published} == {29092, API_PORT, 9090, 3000}


def test_own_containers_have_no_rights() -> None:
    for name in own_services():
        assert service(name)["read_only"] is True
        assert service(name)["cap_drop"] == ["ALL"]
        assert service(name)["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in service(name)  # the image's
        uid, gid = final("USER")[0].words[0].split(":")
        home = f"{final('WORKDIR')[0].words[0]}:uid={uid},gid={gid},mode=0700"
        assert service(name)["tmpfs"] == ["/tmp", home]


def test_data_outlives_its_container() -> None:
    places = {"kafka": "/var/lib/kafka/data", "valkey": "/data", "prometheus": "/prometheus"}
    for name, place in places.items():
        assert place in {mount["target"] for mount in service(name)["volumes"] if mount["type"] == "volume"}
    assert service("kafka")["environment"]["KAFKA_LOG_DIRS"] == places["kafka"]


def test_versions_are_those_that_the_tests_run() -> None:
    assert tag("kafka") == KAFKA_VERSION
    jars = [jar.split(":") for jar, _ in listed_jars()]
    assert {version for group, _, version in jars if group == "org.apache.kafka"} == {KAFKA_VERSION}
    said = subprocess.run([_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+\.\d+\.\d+)", said)
    assert found is not None
    assert tag("valkey").startswith(found[1] + "-")
    assert {tag(name) for name in own_services()} == {project()["project"]["version"]}


def version(text: str) -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    assert found is not None, text
    return tuple(map(int, found.groups()))


def test_what_monitors_is_no_older_than_what_the_tests_run() -> None:
    """Prometheus comes from the distribution here, Grafana as its types alone, both older than the images: what they
    take is not taken back later. The other way round a rule or a panel could use what the image does not have.
    """
    program = shutil.which("prometheus")
    need(program, "prometheus", "apt-get install prometheus")
    said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True)
    assert version(said.stdout + said.stderr) <= version(tag("prometheus"))
    assert version(importlib.metadata.version("grafana-foundation-sdk")) <= version(tag("grafana"))


def test_every_image_is_pinned() -> None:
    for name in compose()["services"]:
        assert re.match(r"v?\d+\.\d+\.\d+(-alpine\d+\.\d+)?$", tag(name)), name


def test_ports_are_the_same_everywhere() -> None:
    (exposed,) = final("EXPOSE")
    (check,) = final("HEALTHCHECK")
    scraped = yaml.safe_load((ROOT / "config/prometheus/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    assert exposed.words == (str(WORKER_PORT), str(API_PORT))
    assert f"'127.0.0.1', {WORKER_PORT}," in check.words[-1]
    ports = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in scraped if "dns_sd_configs" in job}
    views = dict.fromkeys(("tideline-worker", "tideline-deliver", "tideline-campaigns"), WORKER_PORT)
    assert ports == views | {"tideline-api": API_PORT}


def test_the_catalog_can_be_another_one(tmp_path: Path) -> None:
    done = docker_compose("config", "--format", "json", variables=PASSWORDS | {"CATALOG": str(tmp_path / "own.yaml")})
    assert f'"source": "{tmp_path / "own.yaml"}"' in done.stdout


def test_the_program_is_the_one_that_was_locked() -> None:
    """docker-compose lies beside this Python: another one on the path would read the file in its own way."""
    assert Path(sys.executable).with_name("docker-compose").is_file()
