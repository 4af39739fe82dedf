"""The files of the deployment as the programs read them that they are made for; none of them needs an engine."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dockerfile

from tests.conftest import ROOT

PASSWORDS = {"VALKEY_PASSWORD": "sesame", "GRAFANA_PASSWORD": "dashboards", "TIDELINE_DELETION_KEY": "d" * 32}
"""What has to be set before anything starts."""

WORKER_PORT, API_PORT = 6066, 8080


def docker_compose(*arguments: str, variables: Mapping[str, str] = PASSWORDS) -> subprocess.CompletedProcess[str]:
    """The program `docker-compose` on the project's file, with nothing in its environment but `variables`."""
    command = [str(Path(sys.executable).with_name("docker-compose")), "--project-directory", str(ROOT)]
    # A file `.env` of the person who runs the tests must not decide what they see.
    command += ["--env-file", os.devnull, "--profile", "*", *arguments]
    found = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    return subprocess.run(command, env=found, capture_output=True, text=True, check=False, timeout=60)


@functools.cache
def compose() -> Mapping[str, Any]:
    """docker-compose.yml with all profiles, as docker-compose resolves it."""
    done = docker_compose("config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


def service(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = compose()["services"][name]
    return found


def own_services() -> list[str]:
    """Names of the services that run the image of this project."""
    return sorted(name for name, found in compose()["services"].items() if "build" in found)


def tag(name: str) -> str:
    """The tag of a service's image."""
    _, colon, found = str(service(name)["image"]).rpartition(":")
    assert colon, f"{name} has no tag"
    return found


@dataclass(frozen=True)
class Instruction:
    """One line of the Dockerfile: what it does, its words, and whether they are a list (exec form)."""

    name: str
    words: tuple[str, ...]
    flags: tuple[str, ...]
    is_list: bool

    def pairs(self) -> dict[str, str]:
        """Names and values of ENV and LABEL."""
        names, values = self.words[::2], self.words[1::2]
        return {name: value.strip('"') for name, value in zip(names, values, strict=True)}


def stages() -> list[list[Instruction]]:
    """The Dockerfile's stages, each beginning with its FROM, as the builder's own parser reads them."""
    found: list[list[Instruction]] = []
    for each in dockerfile.parse_file(str(ROOT / "Dockerfile")):
        if each.cmd == "FROM":
            found.append([])
        found[-1].append(Instruction(each.cmd, tuple(each.value), tuple(each.flags), each.json))
    return found


def final(name: str) -> list[Instruction]:
    """Every instruction of that name in the last stage, whose result is the image."""
    return [each for each in stages()[-1] if each.name == name]


def project() -> Mapping[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
