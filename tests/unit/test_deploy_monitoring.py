"""What Prometheus and Grafana read at their start."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import yaml

from tests.conftest import ROOT
from tests.unit.deploy_world import compose, service
from tests.unit.test_alerts import promtool

PROMETHEUS = ROOT / "config/prometheus/prometheus.yml"
PROVISIONING = ROOT / "config/grafana/provisioning"

DURATION = {"type": "string", "pattern": r"^\d+(ms|s|m|h|d)$"}
# Of Prometheus's configuration what is used here, from its documentation; it refuses a name that it does not know.
DNS = {
    "type": "object",
    "required": ["names"],
    "additionalProperties": False,
    "properties": {
        "names": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "type": {"enum": ["SRV", "A", "AAAA", "MX", "NS"]},
        "port": {"type": "integer", "minimum": 1, "maximum": 65_535},
        "refresh_interval": DURATION,
    },
}
SCRAPE = {
    "type": "object",
    "required": ["job_name"],
    "additionalProperties": False,
    "properties": {
        "job_name": {"type": "string"},
        "scrape_interval": DURATION,
        "scrape_timeout": DURATION,
        "metrics_path": {"type": "string", "pattern": "^/"},
        "scheme": {"enum": ["http", "https"]},
        "authorization": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"type": {"type": "string"}, "credentials_file": {"type": "string"}},
        },
        "dns_sd_configs": {"type": "array", "items": DNS},
        "static_configs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["targets"],
                "additionalProperties": False,
                "properties": {
                    "targets": {"type": "array", "items": {"type": "string", "pattern": r"^[\w.-]+:\d+$"}},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
        },
    },
}
SCHEMA = {
    "type": "object",
    "required": ["scrape_configs"],
    "additionalProperties": False,
    "properties": {
        "global": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), DURATION),
        },
        "rule_files": {"type": "array", "items": {"type": "string", "pattern": r"\.ya?ml$"}},
        "scrape_configs": {"type": "array", "items": SCRAPE, "minItems": 1},
    },
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def mount(name: str, source: Path) -> str:
    """Where a service has a folder of the project."""
    (found,) = [each for each in service(name)["volumes"] if each["source"] == str(source)]
    assert found["read_only"] is True
    return str(found["target"])


def test_prometheus_is_given_a_file_that_it_can_read() -> None:
    jsonschema.validate(read(PROMETHEUS), SCHEMA)
    (option,) = [word for word in service("prometheus")["command"] if word.startswith("--config.file=")]
    assert option == f"--config.file={mount('prometheus', PROMETHEUS.parent)}/{PROMETHEUS.name}"


def test_what_is_said_about_alerts_and_dashboards_is_so() -> None:
    (pattern,) = read(PROMETHEUS)["rule_files"]
    assert pattern == "rules/*.yml"
    words = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    rules, boards = list(PROMETHEUS.parent.glob(pattern)), list((ROOT / "config/grafana/dashboards").glob("*.json"))
    assert ("Prometheus comes with [alerts](operations.md#alerts)" in words) == bool(rules)
    assert ("Grafana with [dashboards](operations.md#dashboards)" in words) == bool(boards)


def test_every_worker_is_scraped() -> None:
    jobs = {job["job_name"]: job for job in read(PROMETHEUS)["scrape_configs"]}
    (found,) = jobs["tideline-worker"]["dns_sd_configs"]
    assert found["type"] == "A"
    assert set(found["names"]) <= compose()["services"].keys()
    assert "metrics_path" not in jobs["tideline-worker"]  # /metrics is what it asks for by itself


def test_the_api_is_scraped_with_a_key_that_is_in_no_repository() -> None:
    (job,) = [job for job in read(PROMETHEUS)["scrape_configs"] if job["job_name"] == "tideline-api"]
    (found,) = job["dns_sd_configs"]
    assert (found["type"], found["names"]) == ("A", ["api"])
    assert {"api"} <= compose()["services"].keys()
    place = Path(job["authorization"]["credentials_file"])
    assert str(place.parent) == mount("prometheus", PROMETHEUS.parent)
    key = f"config/prometheus/{place.name}"
    ignored = subprocess.run(["git", "check-ignore", "-q", "--no-index", key], cwd=ROOT, check=False)
    assert ignored.returncode == 0
    assert f"> {key}" in (ROOT / "docs/deploy.md").read_text(encoding="utf-8")


def test_grafana_asks_prometheus() -> None:
    (source,) = read(PROVISIONING / "datasources/prometheus.yaml")["datasources"]
    address = urlsplit(source["url"])
    assert (source["type"], source["uid"], source["isDefault"]) == ("prometheus", "prometheus", True)
    assert address.hostname in compose()["services"]
    assert [port["target"] for port in service(address.hostname)["ports"]] == [address.port]
    assert source["jsonData"]["timeInterval"] == read(PROMETHEUS)["global"]["scrape_interval"]


def test_grafana_finds_the_dashboards() -> None:
    (provider,) = read(PROVISIONING / "dashboards/tideline.yaml")["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == mount("grafana", ROOT / "config/grafana/dashboards")
    assert mount("grafana", PROVISIONING) == "/etc/grafana/provisioning"


def test_folders_that_are_mounted_are_in_the_project() -> None:
    kept = subprocess.run(["git", "ls-files", "config"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = [
        Path(each["source"]).relative_to(ROOT).as_posix()
        for name in ("prometheus", "grafana")
        for each in service(name)["volumes"]
        if each["type"] == "bind"
    ]
    assert folders
    assert all(re.search(rf"^{folder}/", kept, re.MULTILINE) for folder in folders)


# --- Kubernetes ------------------------------------------------------------------------------------------------------


def pods() -> list[dict[str, Any]]:
    """Every container's port of the manifests as Kubernetes' discovery shows it, and a pod that has ended."""
    found = []
    for path in sorted((ROOT / "config/kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] not in ("Deployment", "Job"):
                continue
            template = document["spec"]["template"]
            assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "tideline"
            ports = [port for each in template["spec"]["containers"] for port in each.get("ports", [])] or [{}]
            component = template["metadata"]["labels"]["app.kubernetes.io/component"]
            found += [pod(component, port.get("name", ""), port.get("containerPort", 80)) for port in ports]
    return [*found, pod("worker", "http", 6066, phase="Failed")]


def pod(component: str, port_name: str, port: int, *, phase: str = "Running") -> dict[str, Any]:
    labels = {
        "pod_phase": phase,
        "pod_name": f"{component}-{phase}",
        "pod_container_port_name": port_name,
        "pod_label_app_kubernetes_io_component": component,
    }
    named = {f"__meta_kubernetes_{name}": value for name, value in labels.items()}
    return {"targets": [f"10.0.0.1:{port}"], "labels": named}


def test_pods_of_the_manifests_get_the_jobs_that_rules_and_dashboards_ask_for(tmp_path: Path) -> None:
    """Prometheus' own relabeling; Debian's package has no discovery of Kubernetes, so a file tells what that would."""
    document = read(ROOT / "config/prometheus/kubernetes.yml")
    (tmp_path / "pods.json").write_text(json.dumps(pods()))
    found: dict[str, str] = {}
    for job in document["scrape_configs"]:
        (discovery,) = job.pop("kubernetes_sd_configs")
        assert discovery["selectors"] == [{"role": "pod", "label": "app.kubernetes.io/part-of=tideline"}]
        assert ("authorization" in job) == (job["job_name"] == "tideline-api")
        job["file_sd_configs"] = [{"files": [str(tmp_path / "pods.json")]}]
    config = tmp_path / "prometheus.yml"
    config.write_text(yaml.safe_dump(document))
    for job in document["scrape_configs"]:
        looked = promtool("check", "service-discovery", "--timeout=1s", config, job["job_name"])
        kept = [each["labels"] for each in json.loads(looked[: looked.rindex("]") + 1]) if each["labels"]]
        found |= {each["job"]: each["instance"] for each in kept}
    compose_jobs = {job["job_name"] for job in read(PROMETHEUS)["scrape_configs"]} - {"prometheus"}
    assert found == {job: f"{job.removeprefix('tideline-')}-Running" for job in compose_jobs}
