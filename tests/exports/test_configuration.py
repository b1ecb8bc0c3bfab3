"""The text of a trainer's configuration: what a YAML reader makes of it."""

import json

import pytest
import yaml

from core.exports._base import configuration

VALUES = {
    "learning_rate": 5e-05,
    "tiny": 1e-10,
    "whole": 3.0,
    "seed": 7,
    "on": True,
    "nothing": None,
    "path": "/a folder/model: final #2",
    "looks_like_a_number": "5e-05",
    "words": "é東京 'quoted' \"twice\"\nand a second line " + "long " * 60,
    "a": [{"z": 1, "b": "yes"}, {"x": ["no", 0.5]}],
}


def test_a_reader_gets_back_every_value_with_its_type_and_in_its_order():
    text = configuration(["What it is", "two\nlines"], VALUES)
    values = yaml.safe_load(text)
    assert values == VALUES and list(values) == list(VALUES) and list(values["a"][0]) == ["z", "b"]
    assert isinstance(values["learning_rate"], float) and isinstance(values["whole"], float)
    assert isinstance(values["looks_like_a_number"], str)


def test_remarks_stand_at_the_head_as_comments():
    text = configuration(["What it is", "two\nlines\rthree\u2028four"], {"a": 1})
    assert text.splitlines() == ["# What it is", "# two", "# lines", "# three", "# four", "", "a: 1"]


@pytest.mark.parametrize("text", ["'", "- a", "a: b", "null", "1_000", "0x1f", "2024-07-26", "=", "<<", "{", "\t", ""])
def test_a_text_stays_a_text(text):
    assert yaml.safe_load(configuration([], {"text": text})) == {"text": text}, json.dumps(text)
