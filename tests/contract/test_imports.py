"""Imports point one way. Read from the source, so that a file is held to it before anything runs it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from core.plugins import REGISTERS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "sentence_transformers", "ray", "peft", "accelerate", "trl", "umap", "numba"}
PLUGINS = tuple(REGISTERS)


def files(*folders: str) -> list[Path]:
    out: list[Path] = []
    for folder in folders:
        path = ROOT / folder
        out += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return out


def imports(path: Path, *, top_only: bool = False) -> set[str]:
    """Dotted names a file imports; ``top_only``: those that run when the file is imported."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if top_only and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.update(f"{node.module}.{a.name}" for a in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def touches(path: Path, names: set[str], *, top_only: bool = False) -> set[str]:
    return {i for i in imports(path, top_only=top_only) for n in names if i == n or i.startswith(n + ".")}


def science() -> list[Path]:
    outside = {"services", "worker", "commands", "__main__.py"}
    return [p for p in files("core") if p.relative_to(ROOT / "core").parts[0] not in outside]


RULES = [
    ("values and errors import nothing of ours", files("core/types.py", "core/values", "core/errors.py"),
     {"core", "db", "ui"}),
    ("science knows no streamlit, sql, services", science(),
     {"streamlit", "sqlalchemy", "alembic", "db", "ui", "pages", "core.services", "core.worker", "core.commands"}),
    ("services know no streamlit, no worker, no command", files("core/services"),
     {"streamlit", "ui", "pages", "core.worker", "core.commands"}),
    ("the worker knows no page and no command", files("core/worker"), {"streamlit", "ui", "pages", "core.commands"}),
    ("commands see services and no database", files("core/commands", "core/__main__.py"),
     {"streamlit", "sqlalchemy", "db", "ui", "pages"}),
    ("pages and ui know no database and no model", files("pages", "ui", "app.py"), {"db", "sqlalchemy", *HEAVY}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "paths", "banned"), RULES, ids=[r[0] for r in RULES])
def test_imports_point_one_way(rule, paths, banned):
    assert paths
    broken = {str(p.relative_to(ROOT)): touches(p, banned) for p in paths}
    if rule.startswith("values"):
        broken = {name: {i for i in found if not i.startswith("core.values.")} for name, found in broken.items()}
    assert {name: sorted(found) for name, found in broken.items() if found} == {}


def test_db_knows_no_science():
    good = ("core.types", "core.errors", "core.settings")
    broken = {}
    for path in files("db"):
        ours = {i for i in imports(path) if i.split(".")[0] in ("core", "ui", "pages") and not i.startswith(good)}
        if ours:
            broken[str(path.relative_to(ROOT))] = sorted(ours)
    assert broken == {}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_no_file_imports_itself_by_way_of_others():
    """Circles, imports inside functions included: those hide a circle, they do not open it."""
    paths = {module_of(p): p for p in files("core", "db", "ui", "pages", "app.py")}
    arrows = {
        name: {next((m for m in (i, i.rpartition(".")[0]) if m in paths), "") for i in imports(path)} - {"", name}
        for name, path in paths.items()
    }
    # Files that import nothing that is left are taken away until only circles remain.
    while free := {name for name, others in arrows.items() if not others & arrows.keys()}:
        arrows = {name: others for name, others in arrows.items() if name not in free}
    reached = {name for others in arrows.values() for name in others}
    assert sorted(arrows.keys() & reached) == []


def test_no_file_is_too_long_to_read():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in files("core", "db", "ui", "pages")}
    assert {name: n for name, n in lengths.items() if n > 450} == {}


def test_core_holds_rooms():
    loose = {"__init__.py", "__main__.py", "errors.py", "settings.py", "plugins.py", "types.py", "filters.py",
             "statistics.py", "status.py", "plugins.pyi"}  # fmt: skip
    assert {p.name for p in (ROOT / "core").iterdir() if p.is_file()} == loose


def test_pages_call_services_and_types_only():
    good = ("core.services", "core.types", "core.errors", "core.filters", "core.settings", "core.text.counts")
    broken = {}
    for path in files("pages", "ui", "app.py"):
        ours = {i for i in imports(path) if i.split(".")[0] == "core" and not i.startswith(good)}
        if ours:
            broken[str(path.relative_to(ROOT))] = sorted(ours)
    assert broken == {}


@pytest.mark.parametrize("folder", PLUGINS)
def test_a_plugin_never_imports_another(folder):
    kinds = {p.stem for p in files(f"core/{folder}") if not p.stem.startswith("_")}
    assert kinds
    for path in files(f"core/{folder}"):
        if path.stem.startswith("_"):
            continue
        others = {f"core.{folder.replace('/', '.')}.{k}" for k in kinds - {path.stem}}
        assert touches(path, others) == set(), path.name


def test_heavy_packages_are_imported_inside_functions():
    broken = {str(p.relative_to(ROOT)): touches(p, HEAVY, top_only=True) for p in files("core", "db", "ui", "pages")}
    assert {name: sorted(found) for name, found in broken.items() if found} == {}


def test_streamlit_corners():
    """st.navigation in app.py, st.cache_* in ui/cached.py, session_state and query_params in ui/state.py only."""
    homes = {"navigation": "app.py", "cache_data": "ui/cached.py", "cache_resource": "ui/cached.py",
             "session_state": "ui/state.py", "query_params": "ui/state.py"}  # fmt: skip
    broken = []
    for path in files("app.py", "ui", "pages"):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in homes and homes[node.attr] != name:
                broken.append(f"{name}:{node.lineno} {node.attr}")
    assert broken == []


def test_listing_every_kind_loads_no_model_library():
    code = (
        "import sys; from core.plugins import kinds; "
        f"[kinds(f) for f in {PLUGINS!r}]; "
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
