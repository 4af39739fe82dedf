"""The one place where numba is set up: a typed decorator, array types, and a cache that cannot go stale.

numba keys its cache on the file of the compiled function alone; a change in a function that it calls from
another file goes unseen. So the cache lies in a folder named after a digest of every source file that holds
compiled code. Where that folder cannot be written, what it holds is used all the same, as in an image whose file
system is read-only; what it does not hold is compiled anew in each process.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserProvidedCacheLocator
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
U16 = NDArray[np.uint16]
U8 = NDArray[np.uint8]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _source_digest(root: Path) -> str:
    """Digest of the sources in which compiled functions live, with numba's version."""
    digest = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    for folder in ("models", "streams/core"):
        for path in sorted((root / folder).glob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _modified_s(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process has just removed it
        return 0.0


class _FoundLocator(UserProvidedCacheLocator):
    """Takes the folder as it is found; numba would first try to write into it."""

    def ensure_cache_path(self) -> None:
        return


class _FoundImpl(CompileResultCacheImpl):
    _locator_classes = [_FoundLocator]  # noqa: RUF012  declared so in numba


class _FoundCache(FunctionCache):
    """A cache that is only read."""

    _impl_class = _FoundImpl

    def save_overload(self, sig: object, data: object) -> None:
        del sig, data


def _prepare_cache() -> Literal["kept", "found", "none"]:
    """Point numba at the folder of this source digest, and say whether it can be written or only be read."""
    root = Path(__file__).resolve().parent.parent
    parent = root / "models" / "__pycache__" / "numba"
    folder = parent / _source_digest(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return "none"
    can_write = os.access(folder, os.W_OK)
    if not can_write and not any(folder.glob("*/*.nbc")):
        return "none"
    if can_write:
        for stale in sorted(parent.iterdir(), key=_modified_s)[:-8]:
            shutil.rmtree(stale, ignore_errors=True)
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    return "kept" if can_write else "found"


_CACHE = _prepare_cache()


def jit(function: _Function) -> _Function:
    """Compile `function` without fast-math: results must not depend on how loops were vectorised."""
    compiled: Any = numba.njit(cache=_CACHE == "kept", error_model="numpy", nogil=True)(function)
    if _CACHE == "found":
        compiled._cache = _FoundCache(function)  # type: ignore[no-untyped-call]  # noqa: SLF001  as numba does
    return cast("_Function", compiled)


def const(value: int) -> int:
    """A constant that compiled code takes as a plain 64-bit integer.

    numba compiles a function anew for every literal that is passed to it (`f(x, 0)` and `f(x, 1)` are two); a numpy
    scalar has no literal type.
    """
    return cast("int", np.int64(value))


def flag(value: bool) -> bool:
    """The same for truth values."""
    return cast("bool", np.bool_(value))


@jit
def wide(value: Any) -> int:
    """An integer of any width as 64 bits, so that one compiled function serves all."""
    return np.int64(value)  # type: ignore[return-value]
