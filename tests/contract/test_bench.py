"""Benches import what they use inside functions, so that a renamed name would show only hours into a run."""

import ast
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("*.py")), ids=lambda p: p.stem)
def test_every_name_that_a_bench_takes_from_here_exists(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules, missing = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("core", "db", "bench"):
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    if importlib.util.find_spec(f"{node.module}.{name.name}") is None:
                        missing.append(f"{node.module}.{name.name}")
                        continue
                    importlib.import_module(f"{node.module}.{name.name}")
                if isinstance(value := getattr(module, name.name), ModuleType):
                    modules[name.asname or name.name] = value
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    for name in {n.id for n in names if isinstance(n.ctx, ast.Store)} & modules.keys():
        del modules[name]  # a variable of that name elsewhere in the file
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            if not hasattr(module, node.attr):
                missing.append(f"{module.__name__}.{node.attr}")
    assert missing == []
