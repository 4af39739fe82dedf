"""The manifests for Kubernetes: valid by its own schemas, and what the product understands; nothing secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml
from pydantic import SecretStr

from config.settings import PREFIX, Settings, load_settings
from streams.cli.app import app
from tests.conftest import ROOT
from tests.unit.deploy_world import API_PORT, WORKER_PORT, final, project, tag

FOLDER = ROOT / "config/kubernetes"
VERSIONS = ("1.31", "1.37")
"""The oldest and the newest that the manifests are checked for."""
SERVED = ("worker", "api", "deliver", "campaigns")
# Of KEDA's ScaledObject what is used here, from its documentation: it is no part of Kubernetes' own schemas.
BEHAVIOUR = {"type": "object", "required": ["scaleUp", "scaleDown"], "additionalProperties": {"type": "object"}}
TEXT = {"type": "string", "minLength": 1}
SCALED_OBJECT = {
    "type": "object",
    "required": ["scaleTargetRef", "triggers"],
    "additionalProperties": False,
    "properties": {
        "scaleTargetRef": {"type": "object", "required": ["name"], "properties": {"name": TEXT}},
        "pollingInterval": {"type": "integer", "minimum": 1},
        "minReplicaCount": {"type": "integer", "minimum": 1},
        "maxReplicaCount": {"type": "integer", "minimum": 1},
        "fallback": {
            "type": "object",
            "required": ["failureThreshold", "replicas"],
            "additionalProperties": {"type": "integer"},
        },
        "advanced": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"horizontalPodAutoscalerConfig": {"type": "object", "properties": {"behavior": BEHAVIOUR}}},
        },
        "triggers": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "metadata"],
                "properties": {
                    "type": {"const": "kafka"},
                    "metadata": {
                        "type": "object",
                        "required": ["bootstrapServers", "consumerGroup", "topic"],
                        "additionalProperties": False,
                        # All of them are texts, numbers too.
                        "properties": {
                            "bootstrapServers": TEXT,
                            "consumerGroup": TEXT,
                            "topic": TEXT,
                            "lagThreshold": {"type": "string", "pattern": r"^\d+$"},
                            "offsetResetPolicy": {"enum": ["earliest", "latest"]},
                            "allowIdleConsumers": {"enum": ["true", "false"]},
                        },
                    },
                },
            },
        },
    },
}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object, with its file."""
    for path in sorted(FOLDER.glob("*.yaml")):
        for found in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield path.name, found


ALL = list(documents())
BY_KIND: dict[str, list[dict[str, Any]]] = {}
for _, _document in ALL:
    BY_KIND.setdefault(_document["kind"], []).append(_document)
NOT_OF_KUBERNETES = {"ScaledObject", "Kustomization"}


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in BY_KIND[kind] if each["metadata"]["name"] == name]
    return found


def pods() -> list[tuple[str, dict[str, Any]]]:
    """Name and pod of all that run our image."""
    workloads = [*BY_KIND["Deployment"], *BY_KIND["Job"]]
    return [(each["metadata"]["name"], each["spec"]["template"]["spec"]) for each in workloads]


PODS = pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_would_take_every_object(version: str) -> None:
    checked = [each for _, each in ALL if each["kind"] not in NOT_OF_KUBERNETES]
    for document in checked:
        assert kubernetes_validate.validate(document, version, strict=True) == version
    assert {each["kind"] for each in checked} == {
        *("ConfigMap", "Secret", "Job", "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler")
    }


def test_a_mistake_would_be_found() -> None:
    broken = named("Deployment", "tideline-api") | {"spec": {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_keda_would_take_its_object() -> None:
    (scaled,) = BY_KIND["ScaledObject"]
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    jsonschema.validate(scaled["spec"], SCALED_OBJECT)


def test_kustomize_finds_everything_but_the_secret_and_the_choice() -> None:
    (kustomization,) = BY_KIND["Kustomization"]
    chosen = {"secrets.example.yaml", "autoscale-keda.yaml", "autoscale-hpa.yaml", "kustomization.yaml"}
    assert set(kustomization["resources"]) == {file for file, _ in ALL} - chosen


@PODS
def test_pods_have_no_rights(name: str, pod: dict[str, Any]) -> None:
    uid, gid = (int(part) for part in final("USER")[0].words[0].split(":"))
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": gid,
        "fsGroup": gid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }, name
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/tmp", final("WORKDIR")[0].words[0]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@PODS
def test_no_variable_comes_from_kubernetes_itself(
    name: str, pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Service `tideline-api` would set this one in every pod, and no process would start."""
    assert pod["enableServiceLinks"] is False, name
    monkeypatch.setenv("TIDELINE_API_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(Exception, match="TIDELINE_API_SERVICE_HOST is not a setting"):
        load_settings()


@PODS
def test_pods_run_commands_of_the_image_of_this_version(name: str, pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    first, *others = container["args"]
    group: Any = typer.main.get_command(app)
    group.commands[first].make_context(name, others)  # every option exists, and its value can be read
    assert container["image"] == f"tideline:{project()['project']['version']}"
    assert container["image"].endswith(tag("worker"))
    assert container["resources"]["limits"].keys() == {"memory"}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@PODS
def test_all_have_the_same_settings(name: str, pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert container["envFrom"] == [
        {"configMapRef": {"name": named("ConfigMap", "tideline-settings")["metadata"]["name"]}},
        {"secretRef": {"name": named("Secret", "tideline-secrets")["metadata"]["name"]}},
    ], name
    assert "env" not in container


def test_the_settings_are_settings_with_values_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in named("ConfigMap", "tideline-settings")["data"].items():
        monkeypatch.setenv(variable, value)
    secret = named("Secret", "tideline-secrets")["stringData"]
    for variable in secret:
        monkeypatch.setenv(variable, "d" * 32 if variable.endswith("KEY") else "rediss://:x@valkey:6379/0")
    settings = load_settings()
    assert (settings.api_log, settings.shards) == ("kafka", 12)
    assert settings.redis_url is not None
    assert settings.deletion_key is not None


def test_nothing_secret_stands_in_a_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    (template,) = BY_KIND["Secret"]
    assert set(template["stringData"].values()) == {""}
    assert "data" not in template
    hidden = {
        PREFIX + name.upper()
        for name, field in Settings.model_fields.items()
        if name == "redis_url" or SecretStr in getattr(field.annotation, "__args__", (field.annotation,))
    }
    assert template["stringData"].keys() <= hidden
    assert not hidden & named("ConfigMap", "tideline-settings")["data"].keys()
    for variable in template["stringData"]:
        monkeypatch.setenv(variable, "")
        with pytest.raises(Exception, match=variable):  # a template that was not filled in starts nothing
            load_settings()
        monkeypatch.delenv(variable)


@pytest.mark.parametrize("component", SERVED)
def test_who_serves_is_probed_where_it_answers(component: str) -> None:
    deployment = named("Deployment", f"tideline-{component}")
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    settings = load_settings()
    expected = {
        "worker": WORKER_PORT,
        "api": API_PORT,
        "deliver": settings.webhooks_port,
        "campaigns": settings.campaigns_port,
    }
    assert container["ports"] == [{"name": "http", "containerPort": expected[component]}]
    paths = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {found["port"] for found in paths.values()} == {"http"}
    assert [found["path"] for found in paths.values()] == ["/healthz", "/healthz", "/readyz"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(expected[component])
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert template["spec"]["terminationGracePeriodSeconds"] > 30


@pytest.mark.parametrize("component", SERVED)
def test_selectors_find_their_pods_and_no_others(component: str) -> None:
    labels = named("Deployment", f"tideline-{component}")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == component
    deployment, budget = (named(kind, f"tideline-{component}") for kind in ("Deployment", "PodDisruptionBudget"))
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    if component == "api":
        (service,) = BY_KIND["Service"]
        assert service["spec"]["selector"] == labels
        assert service["spec"]["ports"][0]["targetPort"] == "http"


def test_workers_are_as_many_as_events_wait_and_never_more_than_partitions() -> None:
    data = named("ConfigMap", "tideline-settings")["data"]
    (scaled,), (plain,) = BY_KIND["ScaledObject"], BY_KIND["HorizontalPodAutoscaler"]
    (trigger,) = scaled["spec"]["triggers"]
    settings = load_settings()
    assert trigger["metadata"]["bootstrapServers"] == data["TIDELINE_KAFKA_BOOTSTRAP_SERVERS"]
    assert trigger["metadata"]["consumerGroup"] == settings.kafka_group
    assert trigger["metadata"]["topic"] == settings.topic("events")
    assert scaled["spec"]["scaleTargetRef"]["name"] == plain["spec"]["scaleTargetRef"]["name"] == "tideline-worker"
    assert str(scaled["spec"]["maxReplicaCount"]) == str(plain["spec"]["maxReplicas"]) == data["TIDELINE_SHARDS"]
    assert scaled["spec"]["minReplicaCount"] == plain["spec"]["minReplicas"] >= 1
    (metric,) = plain["spec"]["metrics"]
    assert metric["external"]["target"]["averageValue"] == trigger["metadata"]["lagThreshold"]
    behaviour = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour == plain["spec"]["behavior"]


def test_the_page_names_every_file() -> None:
    page = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Kubernetes$(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`([\w.-]+\.yaml)`", section)) == {file for file, _ in ALL}
