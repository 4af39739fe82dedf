"""`tideline demo --live`, as somebody starts it: real purchases come first, then a simulated shop moves the pages."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks._ports import free_port
from streams.console.visit import BASE
from tests.conftest import ROOT
from tests.integration.up_world import PATIENCE_S, Service
from tests.integration.worker_world import await_until

CUSTOMERS = 10
VISITORS = 100
PROGRAM = (
    "import sys; from pathlib import Path; from streams.cli import demo; from streams.cli.app import main; "
    "demo._EXAMPLE = Path(sys.argv.pop(1)); main()"
)
"""`tideline`, whose demonstration has fewer purchases."""
ON_LIST = re.compile(r'/console/users/one\?id=(\w+)"')


def few_purchases(folder: Path) -> Path:
    """A copy of the examples with the purchases of the first customers alone; the folder of CDNOW in it."""
    shutil.copytree(ROOT / "examples/demo", folder / "demo")
    found = folder / "cdnow"
    shutil.copytree(ROOT / "examples/cdnow", found)
    with gzip.open(found / "events.csv.gz", "rt") as lines:
        header, *rest = lines
    with gzip.open(found / "events.csv.gz", "wt") as few:
        few.writelines([header, *(line for line in rest if int(line.partition(",")[0]) <= CUSTOMERS)])
    return found


@contextmanager
def demonstration(data_dir: Path, examples: Path) -> Iterator[tuple[Service, httpx.Client]]:
    """It runs, and somebody has signed in by the address that it has told. It ends as by Ctrl-C."""
    ports = {f"TIDELINE_{name}_PORT": str(free_port()) for name in ("WEB", "WEBHOOKS", "CAMPAIGNS")}
    options = ("--users", str(VISITORS), "--data-dir", str(data_dir), "--api-port", str(free_port()))
    command = (sys.executable, "-c", PROGRAM, str(examples), "demo", "--live", *options)
    service = Service(command, {**os.environ, **ports, "TIDELINE_SHARDS": "2"})
    try:
        told = service.wait_for(r"console  (http\S+)/console/sign-in#key=(\S+)")
        with httpx.Client(base_url=told[1] + BASE, follow_redirects=True, timeout=PATIENCE_S) as person:
            assert person.post("/sign-in", data={"key": told[2]}).status_code == 200
            yield service, person
        assert service.stop() == 0
    finally:
        service.close()


def heard(service: Service, pattern: str) -> None:
    """The shop says it, perhaps before the service says where it is."""
    if not re.search(pattern, "".join(service.said), re.MULTILINE):
        service.wait_for(pattern)


def test_after_the_purchases_a_simulated_shop_moves_the_pages(tmp_path: Path) -> None:
    """Carts are of the simulated shop alone: of CDNOW's customers nothing but purchases is known."""
    examples = few_purchases(tmp_path / "examples")
    with demonstration(tmp_path / "data", examples) as (service, person):
        heard(service, r"^[\d,]+ purchases are told; now the visits of 12 days")
        heard(service, "The shop is open: visits are told as they happen")

        seen: set[str] = set()

        def is_on_list() -> bool:
            """And on the page of who it is, all at once: a moment later somebody may have ordered."""
            listed = set(ON_LIST.findall(person.get("/segments/full_carts").text))
            seen.update(listed)
            pages = (person.get("/users/one", params={"id": user}).text for user in sorted(listed))
            return any("A cart of the last week, and no order since" in page for page in pages)

        await_until(is_on_list, "a cart that waits is on its page", seconds=PATIENCE_S)
        assert all(int(user) <= VISITORS for user in seen)
        assert service.process.poll() is None, "it stays"
