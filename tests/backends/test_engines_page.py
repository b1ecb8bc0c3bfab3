"""The table of docs/engines.md is what the backends declare."""

from pathlib import Path

from core.backends._base import CAPABILITIES
from core.backends._flavours import FLAVOURS
from core.plugins import kinds

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


def columns():
    """Head of a column to what that column gives."""
    for name, kind in kinds("backends").items():
        if name != "openai_server":
            yield f"`{name}`", kind.capabilities
    servers = {"vLLM": "vllm", "SGLang": "sglang", "`transformers serve`, others": "transformers"}
    for label, flavour in servers.items():
        yield f"`openai_server`: {label}", FLAVOURS[flavour].gives
    assert FLAVOURS["transformers"].gives == FLAVOURS["plain"].gives


def test_the_table_says_what_is_declared():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head, cells = rows[0][1:], {row[0]: row[1:] for row in rows[2:9]}
    declared = dict(columns())
    assert sorted(head) == sorted(declared)
    for capability, words in CAPABILITIES.items():
        assert cells[words] == ["yes" if capability in declared[name] else "no" for name in head], words
