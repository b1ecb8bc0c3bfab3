"""The knowledge page: what is missing without a base, and the numbers of the database with one."""

from core.services import knowledge, runs
from core.signals import knowledge as signal
from core.types import Filter
from tests.pages.reading import words


def test_without_a_base_the_way_to_one_is_named(run_data, open_page):
    at = open_page("knowledge", run="1")
    assert not at.exception and not at.error
    text = words(at)
    assert "has no base model" in text
    assert "give the model before fine-tuning as the base" in text
    assert not at.get("plotly_chart")


def test_the_numbers_are_those_of_the_run(trajectory_data, open_page):
    at = open_page("knowledge", run="1")
    assert not at.exception and not at.error
    found = knowledge.summary(1, Filter())
    assert f"{found.measured:,} of {found.shown:,} samples" in words(at)
    assert found.measured == sum(sum(counts.values()) for _, counts in found.classes.rows) > 20
    assert found.shown == runs.get_run(1).n_samples
    assert found.way in words(at)
    assert len(knowledge.CLASSES) == len(signal.CLASSES) and set(knowledge.CLASSES) == set(knowledge.HELP)
    assert not any(name in words(at) for name in signal.CLASSES if name != "Unknown")
    for switch in at.segmented_control:
        switch.set_value("Table")
    at.run()
    assert not at.exception and not at.get("plotly_chart")
    classes = next(d.value for d in at.dataframe if "Knowledge" in d.value.columns)
    assert classes["Total"].tolist() == [sum(c.values()) for _, c in found.classes.rows]
    assert len(at.dataframe) == 3


def test_points_and_rows_are_the_same_samples(trajectory_data, monkeypatch):
    found = knowledge.points(1, Filter())
    listed, cursor = [], None
    while True:
        page = knowledge.listing(1, Filter(), cursor, 10)
        listed += page.rows
        cursor = page.next
        if cursor is None:
            break
    assert len(listed) == page.matching == knowledge.summary(1, Filter()).measured
    wrong = [r for r in listed if r["base_belief_is_target"] == 0 and r["belief_margin"] is not None]
    assert [r["sid"] for r in wrong] == list(found.sid)
    assert found.before.tolist() == [r["base_belief_margin"] for r in wrong]
    monkeypatch.setattr(knowledge, "MOST_POINTS", len(wrong) // 2)
    few = knowledge.points(1, Filter())
    assert 0 < len(few.sid) <= len(wrong) // 2 and few.total == found.total and set(few.sid) <= set(found.sid)
    for row in listed[:5]:
        asked = knowledge.sample(1, row["sid"])
        assert asked.belief == row["belief"] and asked.target == row["target"]
        assert asked.prompt


def test_a_row_shows_how_the_base_was_asked(trajectory_data, open_page):
    row = knowledge.listing(1, Filter(), None, 1).rows[0]
    at = open_page("samples", run="1", sample=row["sid"])
    assert not at.exception and not at.error
    text = words(at)
    assert "What the base knew" in text and row["knowledge"] in text
    assert "The base was asked" in text
