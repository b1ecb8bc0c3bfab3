"""Tables: one look, whole where they are short, and texts in several lines where a row has any."""

import json

import pandas as pd
from streamlit.testing.v1 import AppTest

SHOWN = """
from ui import tables
tables.draw(
    [{"prompt": "How?", "share": 1 / 3, "p of it": 0.5, "id": None}] * %d,
    {"percent": ("share",), "%%.2f": ("p of it", "not there")}, wrapped=%s, column_config={"id": None},
)
"""


def shown(rows, wrapped=False):
    at = AppTest.from_string(SHOWN % (rows, wrapped)).run()
    assert not at.exception
    (table,) = at.dataframe
    return table


def test_columns_begin_with_a_capital_and_shares_have_one_place():
    table = shown(3)
    config = json.loads(table.proto.columns)
    assert {name: config[name].get("label") for name in table.value.columns} == {
        "prompt": "Prompt", "share": "Share", "p of it": "p of it", "id": None,
    }  # fmt: skip
    assert config["id"]["hidden"]
    assert config["share"]["type_config"]["format"] == "%.1f%%"
    assert config["p of it"]["type_config"]["format"] == "%.2f"
    pd.testing.assert_series_equal(table.value["share"], pd.Series([100 / 3] * 3, name="share"))


def test_a_short_table_stands_whole_and_texts_get_several_lines():
    assert not shown(3).proto.row_height
    # Streamlit breaks lines in rows higher than 4 rem, which are 14 pixels each here.
    assert shown(3, wrapped=True).proto.row_height > 4 * 14
