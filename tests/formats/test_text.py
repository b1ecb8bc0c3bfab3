"""Plain text rows."""

from __future__ import annotations

import pytest

from core.formats._cells import RowError
from core.formats.text import KIND
from core.types import Message


def test_the_text_is_one_message():
    parsed = KIND.parse({"body": " a\n", "text": "no"}, {"text": "body"})
    assert parsed.messages == (Message("text", " a\n"),)
    assert (parsed.shape, parsed.notes) == ("text", ())


def test_nothing_is_refused_and_empty_is_noted():
    with pytest.raises(RowError, match="null"):
        KIND.parse({"text": None}, {"text": "text"})
    assert KIND.parse({"text": ""}, {"text": "text"}).notes == ("an empty answer is kept",)


def test_detection_gives_way_to_shapes_with_parts():
    assert KIND.detect({"text": ["a"]}) == (0.6, {"text": "text"})
    assert KIND.detect({"text": [["a"]]}) == (0.0, {})
    assert KIND.detect({"body": ["a"]}) == (0.0, {})
