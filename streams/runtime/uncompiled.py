"""Compiled functions as the Python that they were written in, for somebody who calls one of them once.

To call a compiled function takes half a second in a new process: the compiler is set up and code is loaded. For one
row of one user the same source is done in less than a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def uncompiled(function: _Function) -> _Function:
    """The Python function behind a compiled one, which calls those behind the compiled ones that it uses.

    Gives back a function that was never compiled as it is.
    """
    plain: _Function = _plain(function, {})
    return plain


def _plain(function: Any, done: dict[int, Any]) -> Any:
    source = getattr(function, "py_func", None)
    if not isinstance(source, FunctionType):
        return function
    if id(function) not in done:
        names = dict(source.__globals__)
        done[id(function)] = FunctionType(source.__code__, names, source.__name__, source.__defaults__)
        # Only names that the code uses: a module may hold many compiled functions that this one never meets.
        names.update({name: _plain(names[name], done) for name in source.__code__.co_names if name in names})
    return done[id(function)]
