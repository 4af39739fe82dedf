"""Which package may import which, who may read the environment, and what the documents must mention."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Each layer may import itself and those to its left.
LAYERS = (
    "config",
    "models",
    "streams.core",
    "streams.campaigns",
    "streams.adapters",
    "streams.runtime",
    "streams.simulate",
    "streams.api",
    "streams.console",
    "streams.cli",
)
# Modules of `streams` outside a folder: the names that core, adapters and runtimes share.
SHARED = {
    "streams.client": LAYERS.index("streams.api"),
    "streams": 2,
    "streams.ports": 2,
    "streams.commit": 2,
    "streams.trace_context": 2,
    "streams.__main__": LAYERS.index("streams.cli"),
}
PACKAGES = ("config", "models", "streams")
# Python's own modules that make a result depend on more than the input.
IMPURE = {"asyncio", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}


def layer(module: str) -> int:
    """Position of a module's layer; fails for a module that belongs to none."""
    if module in SHARED:
        return SHARED[module]
    for index, prefix in enumerate(LAYERS):
        if module == prefix or module.startswith(prefix + "."):
            return index
    raise AssertionError(f"{module} belongs to no layer: give it one in LAYERS or SHARED")


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the product: dotted name and file."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports, also inside functions, with their lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield str(node.module), node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def is_module(name: str) -> bool:
    """Whether a dotted name is a module here (and not a function or class in one)."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


MODULES = list(sources())


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_imports_go_one_way(module: str, path: Path) -> None:
    own = layer(module)
    wrong = [
        f"{path.name}:{line} imports {name}"
        for name, line in imports(path)
        if name.split(".")[0] in PACKAGES and is_module(name) and name != "streams" and layer(name) > own
    ]
    assert not wrong


def test_product_does_not_import_tests_or_benchmarks() -> None:
    wrong = [
        f"{module}:{line} imports {name}"
        for module, path in MODULES
        for name, line in imports(path)
        if name.split(".")[0] in ("tests", "benchmarks", "examples")
    ]
    assert not wrong


def test_the_core_is_pure() -> None:
    wrong = [
        f"{module}:{line} imports {name}"
        for module, path in MODULES
        if layer(module) <= 2 and module != "config.settings" and not module.startswith("models.jit")
        for name, line in imports(path)
        if name.split(".")[0] in IMPURE
    ]
    assert not wrong


def test_campaigns_are_decided_purely() -> None:
    """Without clock, chance and sockets, and of the rest knowing the core alone."""
    wrong = [
        f"{module}:{line} imports {name}"
        for module, path in MODULES
        if module.startswith("streams.campaigns")
        for name, line in imports(path)
        if name.split(".")[0] in IMPURE | {"models"}
        or (name.split(".")[0] == "streams" and name.split(".")[1:2] not in ([], ["campaigns"], ["core"]))
    ]
    assert not wrong


def test_the_simulation_is_pure_and_stands_alone() -> None:
    wrong = [
        f"{module}:{line} imports {name}"
        for module, path in MODULES
        if module.split(".")[:2] == ["streams", "simulate"]
        for name, line in imports(path)
        if name.split(".")[0] in IMPURE | {"models"}
        or (name.split(".")[0] == "streams" and name.split(".")[1:2] not in ([], ["simulate"]))
    ]
    assert not wrong


def test_only_settings_reads_the_environment() -> None:
    readers = set()
    for module, path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "getenvb")
            if named or (isinstance(node, ast.alias) and node.name in ("environ", "getenv")):
                readers.add(module)
    assert readers <= {"config.settings"}


def test_every_package_says_what_it_is_for_and_is_typed() -> None:
    folders = {path.parent for _, path in MODULES}
    for folder in folders:
        init = folder / "__init__.py"
        assert init.is_file(), f"{folder} has no __init__.py"
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), f"{init} has no docstring"
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()


def test_lock_files_have_hashes_and_no_addresses() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, f"{path.name} names an address"
        for requirement in text.replace("\\\n", " ").splitlines():
            if requirement.strip() and not requirement.startswith("#"):
                assert "==" in requirement, requirement
                assert "--hash=sha256:" in requirement, requirement


def test_tests_that_are_named_exist() -> None:
    texts = [path for _, path in MODULES] + sorted((ROOT / "docs").rglob("*.md")) + [ROOT / "README.md"]
    named = {name for path in texts for name in re.findall(r"\btests/[\w/]+", path.read_text(encoding="utf-8"))}
    missing = {name for name in named if not (ROOT / name).is_dir() and not (ROOT / f"{name}.py").is_file()}
    assert named
    assert missing == set()
