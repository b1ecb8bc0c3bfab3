"""Outcomes of limits in the two forms that CI pages show: JUnit XML and Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as xml

from core.report.limits import Outcome

# Characters that XML 1.0 cannot hold, escaped or not.
_UNHOLDABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_WORDS = {"pass": "passed", "fail": "**failed**", "unknown": "**not judged**"}


def junit(run: str, outcomes: Sequence[Outcome]) -> bytes:
    """One test suite, one test case a limit; a limit that could not be judged is an error. ``run``: its name."""
    failed, unknown = (sum(o.state == state for o in outcomes) for state in ("fail", "unknown"))
    counts = {"tests": str(len(outcomes)), "failures": str(failed), "errors": str(unknown)}
    root = xml.Element("testsuites", counts)
    suite = xml.SubElement(root, "testsuite", {"name": _held(f"lacuna: {run}"), **counts})
    for outcome in outcomes:
        case = xml.SubElement(suite, "testcase", {"classname": "lacuna", "name": _held(outcome.limit.text)})
        if outcome.state != "pass":
            tag = "failure" if outcome.state == "fail" else "error"
            xml.SubElement(case, tag, {"message": _held(outcome.measured)}).text = _held(outcome.text)
    xml.indent(root)
    text: bytes = xml.tostring(root, "utf-8", xml_declaration=True)
    return text + b"\n"


def _held(text: str) -> str:
    return _UNHOLDABLE.sub("\ufffd", text)


def summary(run: str, facts: Mapping[str, str], counts: Sequence[tuple[str, int]], outcomes: Sequence[Outcome]) -> str:
    """Markdown: the limits first, then what was diagnosed and how it went.

    Args:
        facts: what was diagnosed, label to value.
        counts: (label, samples) of statuses and causes.
    """
    lines = [f"## Lacuna: {_md(run)}", ""]
    if outcomes:
        lines += ["| limit | state | measured |", "|---|---|---|"]
        lines += [f"| {_md(o.limit.text)} | {_WORDS[o.state]} | {_md(o.measured)} |" for o in outcomes]
        lines.append("")
    lines += ["| | samples |", "|---|---:|", *(f"| {_md(label)} | {n:,} |" for label, n in counts), ""]
    lines += [f"- {_md(label)}: {_md(value)}" for label, value in facts.items()]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    """Text of unknown origin for a cell of a table: neither marks nor HTML nor line breaks."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return html.escape(_MARKS.sub(r"\\\1", flat), quote=False)
