"""Commands that look something up once neither load compiled code nor import what they do not need."""

from __future__ import annotations

import math
import subprocess
import sys
from types import FunctionType

from models.features import features_at
from models.jit import jit
from streams.runtime.uncompiled import uncompiled
from tests.conftest import ROOT


@jit
def _double(value: float) -> float:
    return 2.0 * value


@jit
def _sum(count: int) -> float:
    return _double(float(count)) + (_sum(count - 1) if count else 0.0)


def test_a_compiled_function_runs_as_python_all_the_way_down() -> None:
    plain = uncompiled(_sum)
    assert isinstance(plain, FunctionType)
    assert isinstance(plain.__globals__["_double"], FunctionType)
    assert plain.__globals__["_sum"] is plain
    assert plain(4) == 20.0


def test_a_plain_function_stays_itself() -> None:
    assert uncompiled(math.log1p) is math.log1p


def test_features_meet_no_compiled_function() -> None:
    used = [uncompiled(features_at)]
    for function in used:
        assert isinstance(function, FunctionType), function
        names = [function.__globals__.get(name) for name in function.__code__.co_names]
        assert not [name for name in names if hasattr(name, "py_func")]
        used += [name for name in names if isinstance(name, FunctionType) and name not in used]
    assert len(used) > 1


def test_looking_at_a_store_imports_no_library_of_models() -> None:
    program = (
        "import sys; from streams.cli.options import find_place; find_place(None, None); "
        "import streams.runtime.lookup, streams.runtime.summary; "
        "sys.exit(' '.join({'river', 'pandas', 'sklearn'} & set(sys.modules)) or None)"
    )
    environment = {"PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
