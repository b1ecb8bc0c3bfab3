"""What every configuration kind keeps: it knows its own files alone, names where a value stands, never raises."""

import json
import random

import pytest
import yaml

from core.configurations._base import Document
from core.configurations._documents import documents
from core.configurations._places import Uploads
from core.configurations._setup import kind_of
from core.plugins import kinds
from core.types import SETUP_LABELS

KINDS = kinds("configurations")
EXAMPLES = [(name, example) for name, kind in KINDS.items() for example in kind.examples]
HOSTILE = (
    None,
    True,
    -1,
    1e308,
    "",
    "a" * 5000,
    "../../etc/passwd",
    "\x00",
    [],
    [[]],
    [None, {}],
    {},
    {"a": [{}]},
    [1] * 50,
)


@pytest.fixture(params=EXAMPLES, ids=lambda pair: f"{pair[0]}-{next(iter(pair[1]))}")
def example(request, tmp_path):
    """Kind, its document, the place where it lies."""
    name, files = request.param
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    place = Uploads({path.name: path for path in tmp_path.iterdir()})
    first = next(iter(files))
    return KINDS[name], documents(first, files[first].encode())[0], place


def test_a_kind_knows_its_own_files_and_no_other_does(example):
    kind, document, _ = example
    assert [name for name, other in KINDS.items() if other.fits(document)] == [kind.name]
    assert kind_of(document) is kind


def test_every_value_names_where_it_stands(example):
    kind, document, place = example
    says = kind.read(document, place)
    assert says.values
    for value in says.values:
        assert value.field in SETUP_LABELS and value.value not in (None, "")
        other = place.document(value.file) if value.file != document.name else None
        values = other.values if other else document.values
        written = [str(key) for key in values]
        assert any(value.key == key or value.key.startswith((f"{key}.", f"{key}[")) or key.endswith(value.key)
                   for key in written), value  # fmt: skip
    for left in says.unmet:
        assert left.key and left.reason.endswith(".") and len(left.value) <= 80


@pytest.mark.parametrize("seed", range(40))
def test_odd_values_are_read_or_left_and_never_raise(example, seed):
    kind, document, place = example
    chance = random.Random(seed)
    values = {k: chance.choice(HOSTILE) if chance.random() < 0.4 else v for k, v in document.values.items()}
    for part in list(values.values()):
        if isinstance(part, list) and part and isinstance(part[0], dict):
            part[0] |= {key: chance.choice(HOSTILE) for key in list(part[0]) if chance.random() < 0.4}
    says = kind.read(Document(document.name, values), place)
    assert all(isinstance(v.value, str | int | float | bool) for v in says.values)
    json.dumps([v.value for v in says.values])


def test_a_kind_that_is_no_configuration_fits_nothing():
    for text in ("{}", '{"a": 1}', '{"model_type": "llama", "hidden_size": 8}'):
        assert kind_of(documents("config2.json", text.encode())[0]) is None
    assert kind_of(Document("x.yaml", yaml.safe_load("a: b"))) is None
