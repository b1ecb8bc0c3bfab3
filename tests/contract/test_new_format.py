"""A format of one file appears everywhere: read, detected, treated by every recipe, written for every trainer."""

import json

import pytest

from core.errors import UserError
from core.exports._folder import DATA, MANIFEST, write
from core.intake.datasets import scan
from core.plugins import kind, kinds, with_defaults
from core.services import datasets, mitigation
from core.types import Filter
from tests.contract import test_exports, test_formats, test_recipes
from tests.contract.conftest import put
from tests.pages.test_start_and_jobs import uploaded
from tests.recipes.pools import pool
from tests.services.conftest import Silent

READS = """
    from core.formats._base import Format, Role, named_columns
    from core.formats._cells import edit_text, needed, text_of
    from core.formats._layouts import Pair
    from core.types import Message

    ROLES = (Role("ask", "Asked", True, ("ask",)), Role("reply", "Replied", True, ("reply",)))

    def find(columns):
        mapping = named_columns(ROLES, columns)
        return (1.0, mapping) if len(mapping) == 2 else (0.0, {})

    def convert(value, mapping, notes):
        (ask, question), (reply, answer) = needed(value, mapping, "ask"), needed(value, mapping, "reply")
        return [Message("user", text_of(question, ask, notes)),
                Message("assistant", text_of(answer, reply, notes))], "chat", None
"""
CHANGES = """
    def edit(value, mapping, messages, i, change):
        return edit_text(value, mapping["ask" if i == 0 else "reply"], change)

    def compose(value, mapping, prompt, answer):
        value |= {mapping["ask"]: prompt, mapping["reply"]: answer}
        return True

    def describe(value, mapping):
        return Pair(mapping["ask"], mapping["reply"], templated=True)
"""
KIND = """
    KIND = Format("interview", "Interview", "A question and a reply.", ROLES, find, convert,
                  ({"ask": "Who?", "reply": "Ada."}, {"ask": "When?", "reply": "Then."}), *MORE)
"""


@pytest.fixture
def interview(own_kinds):
    """A format with all that a format can do."""
    put(own_kinds, "formats", "interview", READS + CHANGES + KIND.replace("MORE", "(edit, compose, describe)"))
    return kind("formats", "interview")


@pytest.fixture
def read_only(own_kinds):
    """A format that only reads."""
    put(own_kinds, "formats", "interview", READS + KIND.replace("MORE", "()"))
    return kind("formats", "interview")


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"ask": f"Number {i}?", "reply": f"It is {i}."}) + "\n" for i in range(24)))
    return path


@pytest.mark.parametrize("writer", test_formats.WRITERS)
def test_it_is_read_from_every_container(interview, tmp_path, writer):
    (tmp_path / "a").mkdir()
    test_formats.test_examples_are_detected_as_this_format(interview, writer, tmp_path / "a")
    test_formats.test_write_then_parse_is_the_identity(interview, writer, tmp_path)


def test_it_keeps_the_contract_of_formats(interview, tmp_path):
    test_formats.test_declares_itself(interview)
    test_formats.test_a_broken_row_harms_no_other(interview, tmp_path)


def test_every_recipe_treats_its_rows(interview):
    for recipe in kinds("recipes"):
        test_recipes.test_rows_are_raw_bytes_or_say_what_changed(recipe, "interview")
        test_recipes.test_the_same_twice_counted_and_ordered(recipe, "interview")
    given = pool("interview")
    for recipe, change in (("base_conflict", "stated before"), ("missing_knowledge", "restated")):
        plan = kind("recipes", recipe).plan(given, with_defaults(kind("recipes", recipe), {}))
        assert any(change in row.change for row in plan.rows())


def test_every_trainer_is_told_its_columns(interview, tmp_path):
    for export in kinds("exports"):
        test_exports.test_a_configuration_names_model_rows_and_columns_and_its_numbers_are_numbers(export, "interview")
    for recipe in kinds("recipes"):
        test_exports.test_every_recipe_is_written_for_every_trainer(recipe, "interview", tmp_path / recipe)


def test_a_format_that_only_reads_is_used_as_it_comes_and_everything_says_so(read_only, tmp_path):
    given = pool("interview")
    outspoken = set()
    for name, recipe in kinds("recipes").items():
        try:
            plan = recipe.plan(given, with_defaults(recipe, {}))
        except UserError as error:
            assert name == "data_inconsistency" and "contradict no other sample" in str(error)
            continue
        assert all(row.raw in {s.raw for s in given.samples} and not row.change for row in plan.rows())
        written = write(tmp_path / name, recipe, plan, {}, test_exports.bundle_of(given), lambda *_: None)
        assert written.files == (DATA, MANIFEST) and written.manifest["configurations"] == {}
        for export in kinds("exports").values():
            assert any(export.label in note and "“Interview”" in note for note in written.manifest["notes"])
        outspoken |= {name for note in plan.notes if "“Interview”" in note}
    assert outspoken == {"base_conflict", "missing_knowledge", "pipeline_repair", "reached_by_reasoning"}
    text = tmp_path / "passages.txt"
    text.write_text("One.\n\nTwo.\n")
    recipe = kind("recipes", "missing_knowledge")
    with pytest.raises(UserError, match="“Interview” cannot be made"):
        recipe.plan(pool("interview", files={"documents": text}), with_defaults(recipe, {}))


@pytest.mark.slow
def test_pages_and_services_list_it_and_a_run_over_it_is_exported(
    interview, rows, tmp_path, tiny_project, diagnose, open_page, work
):
    assert scan([rows]).reading.format == "interview"
    assert "Interview" in [format.label for format in datasets.formats()]
    at = open_page("start", **{"start.scan": str(datasets.start_scan([uploaded(rows)]))})
    work()
    at.run()
    assert not at.exception and at.selectbox(key="w:reading:format").value == "interview"
    dataset = datasets.import_files([rows], [rows.name], "interviews", None, Silent())
    run = diagnose(dataset, tiny_project.final, max_draws=1, max_new_tokens=4)
    settings = {"contrast_ratio": 0.0}
    written = mitigation.export(run.id, Filter(), "base_conflict", settings, tmp_path / "out", {}, lambda *_: None)
    assert set(written.manifest["configurations"]) == set(kinds("exports"))
    assert written.manifest["file"]["changed"] == 24
