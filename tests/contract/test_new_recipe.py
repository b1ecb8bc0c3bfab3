"""A recipe of one file appears everywhere: forms, its cause, command line, page and export."""

import json

import pytest

from core.__main__ import main
from core.plugins import kind, kinds
from core.services.recipes import recipe_for, recipes
from tests.contract import test_exports, test_recipes
from tests.contract.conftest import put
from tests.pages.reading import words

RECIPE = """
    from core.recipes._base import Part, Plan, Recipe, Training
    from core.recipes._mix import counts, rows
    from core.types import Setting

    class Repeat(Recipe):
        name, label, help = "repeat", "Say it again", "The samples, several times."
        causes = ("inattention",)
        settings = (Setting("copies", "int", 2, "Times over", minimum=1),)
        expects, risks = "They are learned.", ("Others are lost.",)
        against = "left_side_forgetting"

        def plan(self, pool, settings):
            parts = [Part("repeated", pool.treated, settings["copies"])]
            return Plan(lambda: rows(pool, parts, 0), counts(parts), Training(epochs=4.0), pool.treated)

    KIND = Repeat()
"""


@pytest.fixture
def repeat(own_kinds):
    put(own_kinds, "recipes", "repeat", RECIPE)
    return kind("recipes", "repeat")


def test_it_keeps_the_contract_of_recipes_on_every_format_and_for_every_trainer(repeat, tmp_path, monkeypatch):
    monkeypatch.setattr(test_recipes, "RECIPES", kinds("recipes"))
    test_recipes.test_it_declares_what_it_is_for_and_what_it_may_harm("repeat")
    test_recipes.test_planning_reads_no_rows("repeat")
    for format in kinds("formats"):
        test_recipes.test_rows_are_raw_bytes_or_say_what_changed("repeat", format)
        test_recipes.test_the_same_twice_counted_and_ordered("repeat", format)
        test_exports.test_every_recipe_is_written_for_every_trainer("repeat", format, tmp_path / format)


@pytest.mark.slow
def test_forms_page_and_command_offer_it(repeat, import_rows, tiny_project, diagnose, open_page, tmp_path):
    assert recipe_for("inattention") == "repeat"
    form = next(form for form in recipes() if form.name == "repeat")
    assert (form.causes, form.settings, form.risks) == (repeat.causes, repeat.settings, repeat.risks)
    run = diagnose(import_rows(tiny_project.rows[:12]), tiny_project.final, max_draws=1, max_new_tokens=4)
    at = open_page("mitigation", run=str(run.id), status="learned")
    box = next(box for box in at.selectbox if box.label == "Recipe")
    assert "Say it again" in box.options
    box.set_value("repeat").run()
    assert not at.exception and "Others are lost." in words(at)
    assert any(box.label == "Times over" for box in at.number_input)
    out = tmp_path / "out"
    assert main(["mitigate", "--run", str(run.id), "--recipe", "repeat", "--set", "copies=3", "--out", str(out)]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["recipe"] == {"name": "repeat", "label": "Say it again", "causes": ["inattention"]}
    assert manifest["file"]["rows"] == 3 * run.n_samples and set(manifest["configurations"]) == set(kinds("exports"))
