"""What holds for every recipe found in the folder, on every shape of rows."""

import json

import numpy as np
import pytest

from core.errors import UserError
from core.intake.datasets import read_json_row
from core.plugins import kinds, with_defaults
from core.recipes._base import Ruling
from tests.recipes.pools import pool

RECIPES = kinds("recipes")
CASES = [(name, format) for name in RECIPES for format in kinds("formats")]


def plans(name, format):
    """The recipe's plans under its defaults and under each choice it offers."""
    recipe = RECIPES[name]
    variants = [{}] + [{s.name: c} for s in recipe.settings if s.kind == "choice" for c in s.choices]
    variants += [{s.name: not s.default} for s in recipe.settings if s.kind == "bool"] + [dict(recipe.proof)]
    for variant in variants:
        given = pool(format)
        settings = with_defaults(recipe, variant)
        try:
            plan = recipe.plan(given, settings)
        except UserError as error:
            # A text, or ids not read yet, have no question that two rows could share.
            assert given.samples[0].shape in ("text", "tokens") and "contradict no other sample" in str(error)
            continue
        yield given, plan


@pytest.mark.parametrize(("name", "format"), CASES)
def test_rows_are_raw_bytes_or_say_what_changed(name, format):
    seen = 0
    for given, plan in plans(name, format):
        by_id = {s.id: s for s in given.samples}
        for row in plan.rows():
            seen += 1
            read_json_row(row.raw, given.reading)  # still of the dataset's shape
            assert row.source in by_id
            own = by_id[row.source].raw
            if row.change:
                assert row.before == own and json.loads(row.raw) != json.loads(own)
            else:
                assert row.raw == own and row.before == b""
            assert b"\n" not in row.raw
            before, after = json.loads(own), json.loads(row.raw)
            # No id is invented: a made row has none, a changed one keeps its own.
            assert after.get("id", before.get("id")) == before.get("id")
    assert seen or pool(format).samples[0].shape in ("text", "tokens")


@pytest.mark.parametrize(("name", "format"), CASES)
def test_the_same_twice_counted_and_ordered(name, format):
    for given, plan in plans(name, format):
        rows = list(plan.rows())
        assert rows == list(plan.rows())
        counted = {}
        for row in rows:
            counted[row.part] = counted.get(row.part, 0) + 1
        assert counted == dict(plan.counts)
        assert plan.total == len(rows)
        assert np.isin(plan.counted, given.treated).all()


@pytest.mark.parametrize(("name", "format"), CASES)
def test_a_proof_judges_a_sample_by_a_row_that_is_trained_on(name, format):
    given, recipe = pool(format), RECIPES[name]
    if given.samples[0].shape in ("text", "tokens"):
        return  # no answer to rewrite
    given.rulings = {given.samples[0].content_hash: Ruling("rewrite", "It is decided.")}
    plan = recipe.plan(given, with_defaults(recipe, dict(recipe.proof)))
    trained = {row.raw for row in plan.rows()}
    judged = [row for i in plan.counted if (row := plan.mended(given.samples[i])) is not None]
    assert {row.raw for row in judged} <= trained
    assert bool(judged) == any(b"It is decided." in raw for raw in trained), "a new answer is judged as well"


@pytest.mark.parametrize("name", RECIPES)
def test_it_declares_what_it_is_for_and_what_it_may_harm(name):
    recipe = RECIPES[name]
    assert recipe.label and recipe.help and recipe.expects and recipe.causes
    assert recipe.risks and all(r.endswith(".") for r in recipe.risks)
    assert recipe.against in RECIPES and recipe.against != name
    with_defaults(recipe, recipe.proof)
    assert len({s.name for s in recipe.settings} | {f.name for f in recipe.files}) == len(recipe.settings) + len(
        recipe.files
    )


def test_no_two_recipes_claim_one_cause():
    causes = [c for r in RECIPES.values() for c in r.causes]
    assert sorted(causes) == sorted(set(causes))


@pytest.mark.parametrize("name", [n for n in RECIPES if n != "data_inconsistency"])
def test_planning_reads_no_rows(name):
    """Rows are read as they stream by; what is kept are numbers."""
    given = pool("messages")
    plan = RECIPES[name].plan(given, with_defaults(RECIPES[name], {}))
    assert given.read == 0
    walk = plan.rows()
    next(walk)
    assert given.read <= 1001
