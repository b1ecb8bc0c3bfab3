"""Documentation keeps up with the code: every kind has a place in it, links lead somewhere, commands exist."""

import argparse
import ast
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from core.__main__ import _parser
from core.backends._base import CAPABILITIES
from core.plugins import REGISTERS, kinds
from tests.contract.conftest import put
from ui.menu import entries

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# Where the kinds of a register are described: by a heading or a table row that begins with the kind's name.
HOMES = {
    "formats": "formats.md", "presets": "presets.md", "backends": "signals.md", "encoders": "signals.md",
    "scorers": "signals.md", "faults": "faults.md", "signals": "signals.md", "derived": "signals.md",
    "causes": "causes.md", "configurations": "configurations.md",
    "recipes": "mitigation.md", "exports": "mitigation.md",
    "lab/hands": "lab.md",
}  # fmt: skip
# Names of other people's settings and files, which a text may quote.
QUOTED = {
    "max_length", "trainer_state", "assistant_only_loss", "completion_only_loss", "bfd_split", "max_samples",
    "prompt_completion", "function_call", "eos_token", "truncation_mode", "adapter_config", "dataset_info",
    "training_args", "llamaboard_config", "tool_calls", "last_round",
    "ignore_empty_think", "ignore_think_prefix",
}  # fmt: skip
# The settings of trainer presets and their values have the trainers' own names.
QUOTED |= {name for preset in kinds("presets").values() for s in preset.settings for name in (s.name, *s.choices)}
# What a fresh reader stumbled over once.
STUMBLES = (
    "that stands",
    "line feed",
    "most items",
    "rows of one step",
    "alike by",
    "take back",
    "look again",
    "as it came",
)


def described(text: str) -> set[str]:
    """Names in backticks in headings and in first cells of table rows."""
    lines = [line for line in text.splitlines() if line.startswith("#")]
    lines += [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for line in lines for name in re.findall(r"`([a-z0-9_]+)`", line)}


@pytest.mark.parametrize("register", [r for r in REGISTERS if r != "commands"])
def test_every_kind_has_a_section(register):
    text = (ROOT / "docs" / HOMES[register]).read_text(encoding="utf-8")
    assert sorted(set(kinds(register)) - described(text)) == [], f"describe it in docs/{HOMES[register]}"


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


def shown_commands(text: str) -> list[str]:
    """Every command in a code block or in backticks, continued lines joined, optional brackets taken off."""
    blocks = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    lines = re.sub(r"\\\n\s*", " ", blocks).splitlines()
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line.strip().replace("[", "").replace("]", "") for line in lines]


def wrong_words(line: str) -> list[str]:
    """The words of a ``lacuna`` command that its parser does not know."""
    words = shlex.split(line, comments=True)
    parser = _parser(words)
    while choices := [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]:
        if not words or words[0].startswith("-") or words[0] == "…":
            break
        if words[0] not in choices[0].choices:
            return [words[0]]
        parser = choices[0].choices[words.pop(0)]
    return [w for w in words if w.startswith("--") and w.partition("=")[0] not in parser._option_string_actions]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_shown_commands_exist(page, own_kinds):
    for path, text in examples_of_the_guide().items():
        if path.startswith("commands/"):  # a reader who follows the guide has them
            put(own_kinds, *path.removesuffix(".py").split("/"), text)
    wrong = []
    for line in shown_commands(page.read_text(encoding="utf-8")):
        line = re.sub(r"^([A-Z_]+=\S+ )+", "", line)
        if found := re.match(r"(?:\.venv/bin/)?lacuna (.+)|(?:\S*/)?python -m core (.+)", line):
            wrong += [f"{line}: {word}" for word in wrong_words(found[1] or found[2])]
        elif found := re.match(r"(?:\S*/)?python -m ((?:core|bench)[\w.]*)", line):
            wrong += [] if importlib.util.find_spec(found[1]) else [line]
    assert wrong == []


def test_a_wrong_command_is_seen():
    assert wrong_words("diagnose --dataset x --checkpoint y") == []
    assert wrong_words("diagnose --dataste x") == ["--dataste"]
    assert wrong_words("routes fly") == ["fly"]
    assert wrong_words("mitigate --run 1  # what it does") == []


def declared_texts(register: str) -> list[str]:
    """What the kinds of a register let people read: labels, helps, columns, settings."""
    texts = []
    for member in kinds(register).values():
        texts += [getattr(member, name, "") for name in ("label", "help", "needs", "advice", "blind", "expects")]
        texts += getattr(member, "risks", ())
        lists = [getattr(member, name, ()) for name in ("columns", "settings", "files")]
        for part in (part for parts in lists if isinstance(parts, tuple) for part in parts):
            texts += [part.label, part.help, *getattr(part, "words", ())]
    return [text for text in texts if isinstance(text, str)]


def page_texts() -> list[str]:
    """Sentences that pages hold: string literals with a space, documentation strings left out."""
    texts = []
    for path in sorted([*(ROOT / "pages").glob("*.py"), *(ROOT / "ui").glob("*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        silent = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
                texts += [node.value] if " " in node.value and "{" not in node.value else []
    return texts


def internal_names(texts: list[str]) -> list[str]:
    found = {name for text in texts for name in re.findall(r"(?<![\w./`])[a-z]+(?:_[a-z]+)+(?![\w(])", text)}
    return sorted(found - QUOTED)


@pytest.mark.parametrize("register", REGISTERS)
def test_people_read_no_internal_name(register):
    assert internal_names(declared_texts(register)) == []


def test_pages_hold_no_internal_name_and_no_stumble():
    texts = page_texts()
    assert len(texts) > 300
    assert internal_names(texts) == []
    every = [*texts, *(text for register in REGISTERS for text in declared_texts(register))]
    assert [t for t in every if any(word in t.lower() for word in STUMBLES)] == []


def examples_of_the_guide() -> dict[str, str]:
    """File below ``LACUNA_KINDS_DIR`` to its text, as docs/adding.md shows it."""
    text = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^`kinds/(\S+)`:\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def test_the_examples_of_the_guide_are_kinds(own_kinds):
    files = [(*path.removesuffix(".py").split("/"), text) for path, text in examples_of_the_guide().items()]
    registers = {register for register, _, _ in files}
    assert registers == {"causes", "presets", "formats", "backends", "commands", "pages"}
    for register, name, text in files:
        put(own_kinds, register, name, text)
    for register, name, _ in files:
        if register == "pages":
            assert name in [path.stem for path, _ in entries()]
        else:
            assert kinds(register)[name].label
            assert internal_names(declared_texts(register)) == []


def test_the_numbers_of_the_guide_are_true():
    """The places of the menu that the guide names as free are free, and its capabilities are all there are."""
    text = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    (place,) = re.findall(r"place=(\d+)\)$", text, re.MULTILINE)
    assert int(place) not in [entry.place for _, entry in entries()]
    assert described(text[text.index("| capability |") :].partition("\n\n")[0]) == set(CAPABILITIES)
