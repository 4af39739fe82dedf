"""`tideline demo --live`: the whole service, and a shop in which something happens."""

from __future__ import annotations

import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streams.cli.screen import TerminalWatcher, err, stop_on_signals

if TYPE_CHECKING:
    from streams.runtime.up import Running

KEY_NAME: Final = "demonstration"


def run_live(folder: Path, data_dir: Path, api_port: int | None, users: int | None, *, browse: bool) -> None:
    """Run the shop of `folder` (the checkout's examples) until Ctrl-C, all of it in `data_dir`.

    `users` visit it; None for as many as in the demonstration that is there, or the usual number.

    Raises what `streams.runtime.up.run_up` and `streams.cli.demo_shop.begun_in` raise.
    """
    from config.settings import load_settings
    from streams.cli.demo_shop import DemoShop, Size, begun_in
    from streams.runtime.up import cache_folder, run_up
    from streams.runtime.up_parts import UpJob

    settings = load_settings(api_port=api_port)
    size = Size(visitors=users)
    begun_in(data_dir, size)  # refused before anything is started
    job = UpJob(settings, folder / "demo" / "catalog.yaml", data_dir, cache_folder())
    stopping = threading.Event()
    stop_on_signals(stopping)
    console = err()

    def say(words: str) -> None:
        console.print(words, markup=False, highlight=False, soft_wrap=True)

    purchases = folder / "cdnow" / "events.csv.gz", folder / "cdnow" / "catalog.yaml"
    shop = DemoShop(data_dir, settings, purchases, say, size=size)
    run_up(
        job,
        lambda url: fresh_key(url, settings.key_prefix),
        TerminalWatcher(),
        say,
        stopping,
        beside=(shop,),
        announce=lambda running: _announced(running, browse_to=_browser(data_dir) if browse else None),
    )


def fresh_key(url: str, prefix: str) -> str:
    """A key for this run that may do everything; those of earlier runs are revoked. Raises StoreError."""
    from streams.adapters.redis_api_keys import RedisApiKeys
    from streams.api.keys import Role, make_key

    with closing(RedisApiKeys(url, prefix=prefix)) as keys:
        for state in keys.all():
            if state.record.name == KEY_NAME and state.revoked_s is None:
                keys.revoke(state.record.id, time.time())
        key, record = make_key(Role.ADMIN, KEY_NAME, time.time())
        keys.add(record)
        return key


def sign_in_address(api: str, key: str) -> str:
    """Where the key is filled in already. Browsers keep what is behind # to themselves: no server and no log has it."""
    return f"{api}/console/sign-in#key={key}"


def _announced(running: Running, *, browse_to: Callable[[str], None] | None) -> str:
    assert running.key is not None
    address = sign_in_address(running.api, running.key)
    if browse_to is not None:
        browse_to(address)
    return "\n".join(
        [
            "The demonstration runs; Ctrl-C ends it, and the same command goes on with it.",
            f"  console  {address}",
            "           Open it in a browser and press Sign in. Its key may do everything, until the next start.",
            f"  all data {running.job.data_dir}",
            "69,659 purchases of a music shop come first, moved up to this month; then its customers go on in a",
            "simulated one. The pages fill in a few minutes, while all of it is worked; then they move as it comes.",
        ]
    )


def _browser(data_dir: Path) -> Callable[[str], None]:
    """Opens an address by a page of the owner's own: what is on a command line, everybody on the machine can read."""

    def browse(address: str) -> None:
        page = data_dir / "open.html"
        page.unlink(missing_ok=True)
        page.touch(0o600)
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={address}"><title>Tideline</title>')
        if not webbrowser.open(page.resolve().as_uri()):
            err().print("No browser was found; open the address below.", markup=False)

    return browse
