"""The secret under which deleted users are remembered (`streams.core.ledger`): of the settings, or made and kept."""

from __future__ import annotations

import os
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Final

from config.errors import SettingsError, StoreError
from streams.core.ledger import KEY_BYTES
from streams.runtime.place import Place

KEY_FILE: Final = "deletion.key"
_SECRET_BYTES: Final = 32
_NEEDED: Final = (
    "TIDELINE_DELETION_KEY is not set: under it deleted users are remembered, so that nothing brings them back. With a "
    "log or a store elsewhere it has to be given: 32 characters or more, the same for every worker and API of the "
    "service, kept for good (openssl rand -hex 32 makes one). Beside `tideline up` it is the text of deletion.key in "
    "its data directory: export TIDELINE_DELETION_KEY=$(cat DIR/deletion.key)"
)


def ledger_key(place: Place, *, has_log: bool = False) -> bytes:
    """The key, of KEY_BYTES. `has_log`: the log of events is in the data directory, or files are replayed by it.

    Without a setting it is the file in the data directory. That is made where log or store are in that directory: it
    outlives both. Where both are elsewhere nobody makes a key of his own: workers on other machines would have others,
    and who begins with a new store would know nobody who was deleted. Raises SettingsError then, and StoreError for a
    file that cannot be read or made.
    """
    path = place.data_dir / KEY_FILE
    if place.deletion_secret is not None:
        secret = place.deletion_secret.encode()
    elif has_log or place.url is None or path.exists():
        secret = _of_file(path)
    else:
        raise SettingsError(_NEEDED)
    return blake2b(secret, digest_size=KEY_BYTES).digest()


def _of_file(path: Path) -> bytes:
    """What the file says; made for nobody but us if there is none. Raises StoreError."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(path)
        secret = path.read_bytes().strip()  # an editor may have put a line end there
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
