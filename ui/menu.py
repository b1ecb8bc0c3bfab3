"""Which pages there are: one file in ``pages/`` is one page, and its head says how the menu lists it.

Beside ``pages/``, the folder ``pages/`` in ``LACUNA_KINDS_DIR`` is read; its files are pages like any other.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.errors import UserError
from core.settings import settings

# The headings of the menu, in the order of a person's work.
GROUPS = ("Diagnose", "Explore", "Fix", "System")
PAGES = Path(__file__).resolve().parent.parent / "pages"
# In CPython 3.11 two threads in ast.parse at once fail with a SystemError: the first visitors of a server that is new.
_PARSING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How the menu lists a page. The page's file assigns it to ``PAGE``, with every value written out.

    Attributes:
        title: what the menu and the browser's tab show.
        icon: as Streamlit names icons, such as ``:material/hub:``.
        place: pages of a group are sorted by it; the first page of the first group opens first.
        group: the heading it stands under, one of ``GROUPS``.
    """

    title: str
    icon: str
    place: int
    group: str = "Explore"


def entries() -> list[tuple[Path, Entry]]:
    """Every page's file with its entry, in the order of the menu.

    Raises:
        UserError: a file has no entry, or one of the user's own has the name of another page.
    """
    pages = [(path, _entry(path)) for path in _files()]
    return sorted(pages, key=lambda page: (GROUPS.index(page[1].group), page[1].place, page[0].name))


def _files() -> Iterator[Path]:
    yield from PAGES.glob("[!_]*.py")
    folder = settings().kinds_dir
    for path in (folder / "pages").glob("[!_]*.py") if folder else ():
        if (PAGES / path.name).exists():
            raise UserError(
                f"{path} has the name of a page that comes with Lacuna.",
                "A page's address is its file's name.",
                "Rename the file.",
            )
        yield path


@cache
def _entry(path: Path) -> Entry:
    """Reads the entry without running the page."""
    try:
        with _PARSING:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id="PAGE")], value=ast.Call(keywords=values)):
                    entry = Entry(**{v.arg: ast.literal_eval(v.value) for v in values if v.arg})
                    if entry.group in GROUPS:
                        return entry
                    why = f"There is no group {entry.group!r}. There are: {', '.join(GROUPS)}."
                    break
        else:
            why = "It has no line that begins with PAGE = Entry(."
    except (SyntaxError, ValueError, TypeError) as error:
        why = f"{error}."
    raise UserError(
        f"{path} does not say how the menu lists it.",
        why,
        'Write PAGE = Entry(title="…", icon=":material/…:", place=50) below its imports, with values, not names.',
    )
