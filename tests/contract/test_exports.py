"""What holds for every export, for rows of every format and after every recipe."""

import json
from dataclasses import replace

import pytest
import yaml

from core.errors import UserError
from core.exports._base import Bundle
from core.exports._folder import DATA, MANIFEST, write
from core.plugins import kind, kinds, with_defaults
from core.recipes._base import Training
from tests.recipes.pools import pool

EXPORTS = kinds("exports")
FORMATS = list(kinds("formats"))
DESCRIBED = [name for name, format in kinds("formats").items() if format.describe]
RATE = 0.5
CHANGES = [
    {"loss_on_prompt": True},
    {"training": Training(rate=RATE, sequential=True)},
    {"training": Training(rate=RATE, epochs=7.0)},
    {"training": Training(rate=RATE, batch=32)},
    {"max_length": 1024},
    {"base": "/models/base"},
]


def bundle_of(given, **changes):
    """What trainers are told of these rows, as the export service does."""
    format, sample = kind("formats", given.reading.format), given.samples[0]
    layout = format.describe(json.loads(sample.raw), given.reading.mapping) if format.describe else None
    bundle = Bundle(
        model="/models/tuned", base=None, template="", format=format.label, layout=layout,
        columns=format.trained_columns(given.reading.mapping), training=Training(rate=RATE), loss_on_prompt=False,
        max_length=512, seed=3, title="Replay, for run 1",
    )  # fmt: skip
    return replace(bundle, **changes)


def read(files):
    """File name to its content as values."""
    return {name: json.loads(text) if name.endswith(".json") else yaml.safe_load(text) for name, text in files.items()}


def scalars(value):
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from scalars(part)
    else:
        yield value


def mentioned(values):
    """Every text in the files, at any depth."""
    return {text for text in scalars(values) if isinstance(text, str)}


@pytest.mark.parametrize("format", DESCRIBED)
@pytest.mark.parametrize("name", EXPORTS)
def test_a_configuration_names_model_rows_and_columns_and_its_numbers_are_numbers(name, format):
    bundle = bundle_of(pool(format))
    values = read(EXPORTS[name].files(bundle))
    texts = mentioned(values)
    assert {"/models/tuned", DATA} <= texts
    required = [role.name for role in kind("formats", format).own_roles if role.required]
    assert {pool(format).reading.mapping[role] for role in required} <= texts
    numbers = [v for v in scalars(values) if isinstance(v, int | float) and not isinstance(v, bool)]
    assert 5e-05 in numbers and 512 in numbers and 3 in numbers


@pytest.mark.parametrize("format", DESCRIBED)
@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_what_a_recipe_or_the_run_says_changes_the_configuration(name, format, change):
    given = pool(format)
    before, after = (EXPORTS[name].files(bundle_of(given, **more)) for more in ({}, change))
    whole_text = given.samples[0].shape == "text"
    unread = "does not read" in "".join(before.values())
    assert (before != after) or ("loss_on_prompt" in change and (whole_text or unread))


@pytest.mark.parametrize("name", EXPORTS)
def test_rows_that_no_layout_describes_are_refused_by_name(name):
    with pytest.raises(UserError) as refusal:
        EXPORTS[name].files(bundle_of(pool("messages"), layout=None, format="Scrolls"))
    assert EXPORTS[name].label in refusal.value.what and "Scrolls" in refusal.value.what


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("recipe", kinds("recipes"))
def test_every_recipe_is_written_for_every_trainer(recipe, format, tmp_path):
    given = pool(format)
    try:
        plan = kind("recipes", recipe).plan(given, with_defaults(kind("recipes", recipe), {}))
    except UserError:
        assert given.samples[0].shape in ("text", "tokens")
        return
    bundle = bundle_of(given, training=plan.training)
    written = write(tmp_path, kind("recipes", recipe), plan, {}, bundle, lambda *_: None)
    trainers = EXPORTS if kind("formats", format).describe else {}
    configurations = [name for export in trainers.values() for name in export.files(bundle)]
    assert sorted(written.files) == sorted([DATA, MANIFEST, *configurations]), "no two exports write one file"
    assert set(written.manifest["configurations"]) == set(trainers)
    assert len((tmp_path / DATA).read_bytes().splitlines()) == plan.total
