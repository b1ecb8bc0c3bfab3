"""Limits as text, and their outcomes as JUnit XML and Markdown."""

from xml.etree import ElementTree as xml

import pytest

from core.errors import UserError
from core.report import ci
from core.report.limits import Outcome, parse
from tests.world import HOSTILE

CAUSES = ("base_conflict", "missing_knowledge", "pipeline:not_supervised")


@pytest.mark.parametrize(
    ("text", "count", "total", "passed"),
    [
        ("unlearned>0.15", 15, 100, False),
        ("unlearned>0.15", 16, 100, True),
        (" unlearned >= 15 % ", 15, 100, True),
        ("cause:base_conflict>20", 20, 1000, False),
        ("cause:base_conflict>20", 21, 1000, True),
        ("cause:pipeline:not_supervised>0", 1, 1000, True),
        ("learned<0.8", 79, 100, True),
        ("learned<=1.0", 100, 100, True),
        ("learned<1", 1, 100, False),
        ("unlearned>0.15", 0, 0, False),
        ("learned<0.8", 0, 0, False),
        ("not_learned>.5", 51, 100, True),
    ],
)
def test_a_whole_number_counts_and_a_decimal_point_makes_a_share(text, count, total, passed):
    assert parse(text, CAUSES).passed_by(count, total) is passed


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("unlearned", "is not a limit.*one of >=, <=, >, <.*unlearned.*cause:base_conflict"),
        ("unlearned=0.1", "is not a limit"),
        ("unlearned>-1", "is not a limit"),
        ("unlearned>1e3", "is not a limit"),
        ("unlearned>0.1 or True", "is not a limit"),
        ("unlearnt>0.1", "no limit named 'unlearnt'.*Did you mean 'unlearned'"),
        ("cause:forgetting>3", "no limit named.*cause:missing_knowledge"),
        ("unlearned>1.5", "A share lies between 0 and 1"),
        ("unlearned>150%", "A share lies between 0 and 1"),
        ("faults>0.5", "faults are counted"),
        ("", "is not a limit"),
    ],
)
def test_what_is_no_limit_names_the_value_and_the_choices(text, complaint):
    with pytest.raises(UserError, match=complaint):
        parse(text, CAUSES)


def outcomes():
    limits = [parse(t, CAUSES) for t in ("unlearned>0.15", "cause:base_conflict>20", "cause:missing_knowledge>0")]
    return [
        Outcome(limits[0], "fail", 16, 100),
        Outcome(limits[1], "pass", 3, 100),
        Outcome(limits[2], "unknown", 0, 100, "not judged | <b>"),
    ]


def test_one_line_a_limit():
    assert [o.text for o in outcomes()] == [
        "FAIL unlearned>0.15: 0.16, 16 of 100 samples",
        "pass cause:base_conflict>20: 3 of 100 samples",
        "UNKNOWN cause:missing_knowledge>0: not judged | <b>",
    ]


def test_junit_tells_failures_from_errors_and_holds_any_name():
    root = xml.fromstring(ci.junit(HOSTILE, outcomes()))
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert HOSTILE.replace("\x1b", "\ufffd") in suite.get("name")
    assert [c.get("name") for c in suite] == [o.limit.text for o in outcomes()]
    assert [[child.tag for child in case] for case in suite] == [["failure"], [], ["error"]]
    assert suite[0][0].get("message") == "0.16, 16 of 100 samples"


def test_the_summary_is_markdown_in_which_nothing_runs():
    text = ci.summary(HOSTILE, {"Dataset": "a|b\nc `x`"}, [("Learned", 84), (HOSTILE, 16)], outcomes())
    assert "| unlearned\\>0.15" not in text and "unlearned&gt;0.15" in text
    assert "<" not in text
    assert "\\[l\\]\\(javascript:window.hit=3\\)" in text
    assert "a\\|b c \\`x\\`" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3 + 2 + 4
