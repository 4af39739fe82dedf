"""The Dockerfile: what gets in, who runs it, and how its health is asked for."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths
from packaging.requirements import Requirement

from config.settings import PREFIX, load_settings
from tests.conftest import ROOT
from tests.unit.deploy_world import WORKER_PORT, Instruction, final, project, stages

LOCKS = ROOT / "requirements"


def names_in(lock: str) -> dict[str, set[str]]:
    """Packages of a lock file with their versions (several where they depend on Python's)."""
    found: dict[str, set[str]] = {}
    for line in (LOCKS / lock).read_text(encoding="utf-8").splitlines():
        match = re.match(r"([a-z0-9-]+)==(\S+)", line)
        if match:
            found.setdefault(match[1], set()).add(match[2])
    return found


def wanted(requirements: list[object]) -> set[str]:
    return {Requirement(each).name for each in requirements if isinstance(each, str)}


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_it_holds_what_the_program_needs_and_nothing_else() -> None:
    image = names_in("image.txt")
    extras = project()["project"]["optional-dependencies"]
    needed = wanted(project()["project"]["dependencies"]) | wanted(extras["traces"])  # a setting turns traces on
    other = {name for extra in extras.values() for name in wanted(extra)}
    other |= {name for group in project()["dependency-groups"].values() for name in wanted(group)}
    assert needed <= image.keys()
    assert not (other - needed) & image.keys()


@pytest.mark.parametrize("lock", ["image.txt", "build.txt"])
def test_its_packages_are_those_that_were_tested(lock: str) -> None:
    tested = names_in("dev.txt")
    assert {name: versions for name, versions in names_in(lock).items() if tested.get(name) != versions} == {}


def test_packages_are_wheels_with_known_digests() -> None:
    installs = [each.words[0] for stage in stages() for each in stage if "pip" in each.words[0] and each.name == "RUN"]
    online = [part for words in installs for part in words.split("&&") if "-r requirements/" in part]
    assert len(online) == 2
    assert all("--require-hashes" in part and "--only-binary :all:" in part for part in online)
    offline = [part for words in installs for part in words.split("&&") if "dist/" in part]
    assert len(offline) == 1
    assert "--no-index" in offline[0]
    assert "--no-deps" in offline[0]


def test_both_stages_have_the_same_python() -> None:
    bases = [stage[0].words[0] for stage in stages()]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    version = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-trixie", bases[0])
    assert version is not None
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"/lib/python(\d+\.\d+)/", text)) == {version[1]}
    assert final("LABEL")[0].pairs()["org.opencontainers.image.base.name"] == bases[0]
    assert f"Programming Language :: Python :: {version[1]}" in project()["project"]["classifiers"]


def context(folder: Path, files: set[str]) -> set[str]:
    """What of a folder with these files gets to the builder, as the engine's own client reads .dockerignore."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    found = exclude_paths(str(folder), [line for line in patterns if line and not line.startswith("#")])
    return {name for name in found if (folder / name).is_file()}


def test_nothing_but_the_program_gets_into_the_build(tmp_path: Path) -> None:
    program = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "requirements/image.txt",
        "requirements/build.txt",
        "config/catalog.py",
        "models/jit.py",
        "streams/adapters/kafka_jars.txt",
        "streams/cli/app.py",
    }
    other = {
        ".env",
        ".git/config",
        ".tideline/valkey.aof",
        ".venv/bin/python",
        "config/__pycache__/catalog.cpython-313.pyc",
        "config/grafana/dashboards/service.json",
        "config/kubernetes/worker.yaml",
        "config/prometheus/prometheus.yml",
        "docker-compose.yml",
        "events.ndjson",
        "models/__pycache__/numba/0f/core_1/kernel.nbc",
        "requirements/dev.txt",
        "streams/cli/__pycache__/app.cpython-313.pyc",
        "tests/conftest.py",
    }
    assert context(tmp_path, program | other) == program


def test_what_is_copied_is_there(tmp_path: Path) -> None:
    copied = {
        source
        for stage in stages()
        for each in stage
        if each.name == "COPY" and not any(flag.startswith("--from") for flag in each.flags)
        for source in each.words[:-1]
    }
    assert {"config", "models", "streams", "pyproject.toml"} <= copied
    files = {f"{source}/file.py" if (ROOT / source).is_dir() else source for source in copied}
    assert all((ROOT / source).exists() for source in copied)
    assert context(tmp_path, files) == files


# --- who runs it, and how --------------------------------------------------------------------------------------------


def test_it_is_not_run_by_root_and_compiles_as_who_runs_it() -> None:
    last = stages()[-1]
    (user,) = final("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.words[0])
    assert last.index(user) < last.index(Instruction("RUN", ("python -m streams.runtime.precompile",), (), False))
    assert f"--uid {user.words[0].partition(':')[0]} " in final("RUN")[0].words[0]


def test_the_engine_is_compiled_for_every_processor() -> None:
    last = stages()[-1]
    (environment,) = final("ENV")
    assert environment.pairs()["NUMBA_CPU_NAME"] == "generic"
    assert last.index(environment) < min(last.index(each) for each in final("RUN"))


def test_its_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (environment,) = final("ENV")
    for name, value in environment.pairs().items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert str(settings.data_dir) == final("WORKDIR")[0].words[0]
    assert settings.web_host == "0.0.0.0"  # else Prometheus could not reach it
    assert settings.web_port == WORKER_PORT


def test_it_is_the_command_and_ends_by_sigterm() -> None:
    (entry,), (signal,), (arguments,) = final("ENTRYPOINT"), final("STOPSIGNAL"), final("CMD")
    assert (entry.words, entry.is_list) == (("tideline",), True)
    assert entry.words[0] in project()["project"]["scripts"]
    assert signal.words == ("SIGTERM",)
    assert arguments.is_list


def test_its_label_has_the_version() -> None:
    arguments = dict(each.words[0].split("=") for each in final("ARG"))
    (labels,) = final("LABEL")
    found = labels.pairs()
    assert arguments["VERSION"] == project()["project"]["version"]
    assert found["org.opencontainers.image.version"] == "$VERSION"
    assert found["org.opencontainers.image.licenses"] == project()["project"]["license"]


# --- its health ------------------------------------------------------------------------------------------------------


class Health(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the library's
        del format, args


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server on a free port whose `/healthz` answers so."""
    handler = type("Answer", (Health,), {"status": status})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def check(port: int) -> int:
    """Run the image's health check against another port."""
    (instruction,) = final("HEALTHCHECK")
    assert instruction.is_list
    assert instruction.words[:3] == ("CMD", "python", "-c")
    program = instruction.words[3].replace(str(WORKER_PORT), str(port))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=30).returncode


def test_a_worker_that_answers_is_healthy() -> None:
    with answering(200) as port:
        assert check(port) == 0


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_worker_that_says_otherwise_is_not(status: int) -> None:
    with answering(status) as port:
        assert check(port) == 1


def test_a_worker_that_does_not_answer_is_not() -> None:
    with answering(200) as port:
        pass
    assert check(port) == 1
