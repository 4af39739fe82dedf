"""The secret under which deleted users are remembered (`streams.core.ledger`): of the settings, or made and kept."""

from __future__ import annotations

import os
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Final

from config.errors import StoreError
from streams.adapters.redis_secret import shared_deletion_key
from streams.commit import patiently
from streams.core.ledger import KEY_BYTES
from streams.runtime.place import Place

KEY_FILE: Final = "deletion.key"
_SECRET_BYTES: Final = 32


def ledger_key(place: Place, url: str, *, has_log: bool = False) -> bytes:
    """The key, of KEY_BYTES. `url`: the address of the place's server, which runs; `has_log`: the data directory holds
    the log of events.

    Without a setting it is a file in a data directory that holds the log, or the store, and it outlives that; where
    both are elsewhere, the store keeps it. Raises StoreError.
    """
    if place.deletion_secret is not None:
        secret = place.deletion_secret.encode()
    elif has_log or place.url is None:
        secret = _of_file(place.data_dir / KEY_FILE)
    else:
        secret = patiently(place.patience, lambda: shared_deletion_key(url, prefix=place.prefix))
    return blake2b(secret, digest_size=KEY_BYTES).digest()


def _of_file(path: Path) -> bytes:
    """What the file says; made for nobody but us if there is none. Raises StoreError."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(path)
        secret = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: the key of the ledger of deleted users cannot be kept ({error.strerror})") from error
    if len(secret) < _SECRET_BYTES:
        raise StoreError(f"{path} is no key: put the right one back, or set TIDELINE_DELETION_KEY")
    return secret


def _make(path: Path) -> None:
    """Whole or not at all, and durable: a key that is lost makes the ledger worthless. The first of several wins."""
    part = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, secrets.token_hex(_SECRET_BYTES).encode())
        os.fsync(file)
    finally:
        os.close(file)
    try:
        os.link(part, path)
    except FileExistsError:
        pass  # another process was faster, and its key counts
    finally:
        part.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
