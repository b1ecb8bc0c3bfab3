"""An export of one file writes its configuration in every mitigation; one that refuses is left out and says why."""

import pytest

from core.exports._folder import write
from core.plugins import kind, kinds, with_defaults
from core.services import jobs, mitigation
from tests.contract import test_exports
from tests.contract.conftest import put
from tests.pages.reading import button, links, words
from tests.recipes.pools import pool

TRAINER = """
    from core.exports._base import DATA, Export, configuration, inexpressible, remarks
    from core.formats._layouts import Conversation

    class Lathe(Export):
        name, label, version = "lathe", "Lathe", "2"

        def files(self, bundle):
            if not isinstance(bundle.layout, Conversation):
                raise inexpressible(self, bundle)
            values = {"model": bundle.base or bundle.model, "data": DATA, "turns": bundle.layout.column}
            return {"lathe.yaml": configuration(remarks(bundle), values)}

    KIND = Lathe()
"""


@pytest.fixture
def lathe(own_kinds):
    put(own_kinds, "exports", "lathe", TRAINER)
    return kind("exports", "lathe")


@pytest.mark.parametrize("format", kinds("formats"))
def test_every_recipe_is_exported_for_it_or_says_why_not(lathe, format, tmp_path):
    given = pool(format)
    for name, recipe in kinds("recipes").items():
        if given.samples[0].shape in ("text", "tokens") and name == "data_inconsistency":
            continue
        plan = recipe.plan(given, with_defaults(recipe, {}))
        written = write(tmp_path / name, recipe, plan, {}, test_exports.bundle_of(given), lambda *_: None)
        refusals = [note for note in written.manifest["notes"] if note.startswith("Lathe has no configuration")]
        assert ("lathe.yaml" in written.files) == ("lathe" in written.manifest["configurations"]) == (not refusals)
        assert all(f"“{kind('formats', format).label}”" in note for note in refusals)
        assert bool(refusals) == (format not in ("messages", "sharegpt"))
        described = kind("formats", format).describe is not None
        assert set(written.manifest["configurations"]) >= (set(kinds("exports")) - {"lathe"} if described else set())


@pytest.mark.slow
def test_the_page_offers_its_file_or_says_why_the_trainer_is_left_out(
    own_kinds, import_rows, tiny_project, diagnose, open_page, work
):
    put(own_kinds, "exports", "lathe", TRAINER)
    put(
        own_kinds,
        "exports",
        "anvil",
        TRAINER.replace("if not", "if").replace("lathe", "anvil").replace("Lathe", "Anvil"),
    )
    run = diagnose(import_rows(tiny_project.rows[:12]), tiny_project.final, max_draws=1, max_new_tokens=4)
    at = open_page("mitigation", run=str(run.id), status="learned")
    next(box for box in at.selectbox if box.label == "Recipe").set_value("left_side_forgetting").run()
    button(at, "Export").click().run()
    work()
    at.run()
    assert not at.exception
    (job,) = [job for job in jobs.list_jobs() if job.kind == "mitigate"]
    assert links(at)["lathe.yaml"] == f"/api/mitigations/{job.id}/lathe.yaml"
    assert "turns: messages" in mitigation.exported_file(job.id, "lathe.yaml").read_text()
    assert "Anvil has no configuration for rows of the format “Messages" in words(at)
    assert "anvil.yaml" not in links(at) and "trl.yaml" in links(at)
