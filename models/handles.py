"""Groups of arrays as one pointer, for compiled code.

numba passes a named tuple by value, field by field. For the few dozen arrays of a shard that means hundreds of
arguments per call and minutes of compiling. A handle (numba's StructRef) is a single pointer with the same
attributes, so the same source runs on named tuples, uncompiled, and on handles, compiled.
"""

from __future__ import annotations

from numba.core import types
from numba.experimental import structref


def handle_type(group: type, module: str) -> tuple[type, type]:
    """Make the handle of named tuple class `group`; call it once, in the module that keeps both classes as globals."""
    kind = type(group.__name__ + "Type", (types.StructRef,), {"__module__": module})
    structref.register(kind)  # type: ignore[no-untyped-call]
    proxy = type(group.__name__ + "Handle", (structref.StructRefProxy,), {"__module__": module})
    structref.define_proxy(proxy, kind, list(group._fields))  # type: ignore[attr-defined, no-untyped-call]
    return kind, proxy
