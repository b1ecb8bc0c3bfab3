"""One file is one kind: an encoder, a signal, a derivation, a scorer, a fault and a cause that Lacuna does not know.

Each lies in a folder of the user's own. One diagnosis with all of them is made on the command line; they must then
appear wherever members of their register do. A place that lists names by hand does not know them, and fails here.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.filters import from_query
from core.plugins import kind
from core.services import causes, clusters, decision, exports, people, results, runs, samples, specs
from core.settings import settings
from core.types import Filter
from db import verdicts as verdict_table
from db.session import database
from tests.contract.test_registers import put
from tests.pages.conftest import open_page  # noqa: F401
from tests.pages.reading import words

ROOT = Path(__file__).parents[2]

ENCODER = '''
"""Letters of a text, counted."""

from pathlib import Path

import numpy as np

from core.encoders._base import Encoder, EncoderKind


class Counted(Encoder):
    window = 1_000
    languages = ()

    def lengths(self, texts):
        return np.array([len(text) for text in texts], dtype=np.int64)

    def encode(self, texts):
        counts = np.array([[t.lower().count(c) + 0.1 for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)

    def close(self):
        pass


class Letters(EncoderKind):
    name = "letters"
    label = "Letters counted"
    help = "How often each letter occurs."

    def locate(self, location):
        return Path(__file__)

    def fingerprint(self, location):
        return "letters, first version"

    def open(self, location, device="auto"):
        return Counted()


KIND = Letters()
'''
SIGNAL = '''
"""How long the prompt is, by threes."""

import numpy as np

from core.signals import _columns as col
from core.signals._base import Measure, Signal
from core.types import Chunk, Column


class Courtesy(Signal):
    name = "courtesy"
    label = "Courtesy"
    version = 1
    needs = (col.GREEDY_EXACT,)
    columns = (Column("courtesy", "number", "Bows", "Bows before the question.", indexed=True),)

    def plan(self, spec):
        return [Measure(self.name, None, spec.final, {"signal": self.name, "version": self.version})]

    def measure(self, measure, samples, instruments, stop):
        values = np.array([float(len(s.prompt) % 3) for s in samples])
        yield Chunk(measure.key, tuple(s.content_hash for s in samples), {"courtesy": values})


KIND = Courtesy()
'''
DERIVATION = '''
"""Twice as courteous."""

from core.derived._base import Derivation
from core.types import Column


class Twice(Derivation):
    name = "twice"
    label = "Twice"
    columns = (Column("courtesy_twice", "number", "Bows, both sides", "Twice the bows."),)

    def derive(self, spec, table):
        return {"courtesy_twice": 2 * table.get("courtesy")}


KIND = Twice()
'''
SCORER = '''
"""The same text, read from behind."""

from core.scorers._base import Scorer


class Mirror(Scorer):
    name = "mirror"
    label = "Mirror image"
    help = "Right if both read the same from behind."

    def score(self, output, target, settings):
        return float(output.strip()[::-1] == target.strip()[::-1])


KIND = Mirror()
'''
FAULT = '''
"""Was the moon full?"""

import numpy as np

from core.faults._base import SampleFault, flags
from core.types import Look


class FullMoon(SampleFault):
    name = "full_moon"
    label = "Moon was full"
    help = "the moon was full."
    place = 150
    needs = "a calendar"
    look = Look("#8A6FB0", "☾", "|")

    def explains(self, table, facts):
        bows = table.get("courtesy_twice")
        return flags(bows == 4, np.isfinite(bows))

    def sentence(self, row):
        return "The moon stood over this row."


KIND = FullMoon()
'''
CAUSE = '''
"""The question was too polite to be answered."""

import numpy as np

from core.causes._base import Cause, Evidence, Weights
from core.types import Look

KIND = Cause(
    name="too_polite",
    label="Good manners",
    help="The model bows back instead of answering.",
    look=Look("#C2577A", "☞", "|"),
    order=6,
    requires=("courtesy",),
    needs="prompts with manners",
    speaks_for=("bowing", "early"),
    speaks_against=("forgotten",),
    blind="Irony is taken for courtesy.",
    advice="Ask bluntly.",
    evidence=(
        Evidence(
            "bowing", "the prompt bows", ("courtesy",),
            lambda get, learned: np.where(np.isfinite(get("courtesy")), get("courtesy") == 1, np.nan).astype(float),
            lambda row: f"The prompt bows {row['courtesy']:.0f} times.",
        ),
    ),
    weights=Weights(bias=-3.0, speaks_for={"bowing": 20.0}, speaks_against={"forgotten": 1.0}),
)
'''
FILES = {
    "encoders": ("letters", ENCODER), "signals": ("courtesy", SIGNAL), "derived": ("twice", DERIVATION),
    "scorers": ("mirror", SCORER), "faults": ("full_moon", FAULT), "causes": ("too_polite", CAUSE),
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tiny_project, tmp_path_factory):
    """Own kinds, a data folder with a run that was diagnosed with them, and its verdicts file."""
    folder = tmp_path_factory.mktemp("one_file")
    for register, (name, text) in FILES.items():
        put(folder / "kinds", register, name, text)
    shutil.copy(tiny_project.dataset, folder / "rows.jsonl")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LACUNA_")}
    environment |= {"LACUNA_DATA_DIR": str(folder / "data"), "LACUNA_KINDS_DIR": str(folder / "kinds")}
    command = [sys.executable, "-m", "core", "diagnose", "--dataset", folder / "rows.jsonl", "--scorer", "mirror",
               "--checkpoint", tiny_project.final, "--max-draws", "12", "--max-new-tokens", "16",
               "--out", folder / "verdicts.jsonl"]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT, env=environment | {"LACUNA_ENCODER": "letters"})
    return folder


@pytest.fixture
def run(built, tmp_path, monkeypatch):
    """The run in a data folder of the test's own."""
    shutil.copytree(built / "data", tmp_path / "data")
    for name, value in (("DATA_DIR", tmp_path / "data"), ("KINDS_DIR", built / "kinds"), ("DEMO", "0")):
        monkeypatch.setenv(f"LACUNA_{name}", str(value))
    settings.cache_clear()
    yield runs.get_run(1)
    database().close()
    settings.cache_clear()


@pytest.fixture
def verdicts(built):
    return [json.loads(line) for line in (built / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()]


def bows(verdict, built):
    rows = [json.loads(line) for line in (built / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    messages = rows[verdict["row"]]["messages"]
    last = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
    return len("\n".join(m["content"] for m in messages[:last])) % 3


def rows_where(run, query):
    return samples.page(run.id, from_query(query, run.columns), limit=500).rows


def test_an_encoder_compares_prompts(run):
    assert run.spec.encoder == "letters" and run.spec.versions["encoder_weights"] == "letters, first version"
    assert ("letters", "Letters counted") in clusters.embeddings()
    rows = rows_where(run, "neighbour_similarity=0..1")
    texts = [row["prompt"] for row in rows]
    assert len(texts) == run.n_samples
    # By letters alone the prompts of one dataset are very much alike.
    assert np.median([row["neighbour_similarity"] for row in rows]) > 0.9


def test_a_signal_and_a_derivation_are_measured_shown_and_filtered_by(run, verdicts, built):
    by_name = {column.name: column for column in run.columns}
    assert by_name["courtesy"].label == "Bows" and by_name["courtesy_twice"].label == "Bows, both sides"
    for value in range(3):
        ids = {v["id"] for v in verdicts if bows(v, built) == value}
        assert ids and {row["sid"] for row in rows_where(run, f"courtesy={value}..{value}")} == ids
        assert {row["sid"] for row in rows_where(run, f"courtesy_twice={2 * value}..{2 * value}")} == ids


def test_a_scorer_is_offered_and_judges(run, verdicts):
    assert run.spec.scorer == "mirror"
    assert "Mirror image" in [form.label for form in specs.scorers()]
    assert any("right by “Mirror image”" in reason for v in verdicts for reason in v["reasons"])


def missed(verdicts):
    return [v for v in verdicts if v["status"] in ("unlearned", "partly")]


def test_a_fault_and_a_cause_explain_what_they_explain(verdicts, built):
    causes_of = {0: set(), 1: set(), 2: set()}
    for verdict in missed(verdicts):
        causes_of[bows(verdict, built)].add(verdict["cause"])
    assert causes_of[2] == {"pipeline:full_moon"}
    assert causes_of[1] >= {"too_polite"} and "pipeline:full_moon" not in causes_of[1] | causes_of[0]
    assert "too_polite" not in causes_of[0]


def test_the_export_names_them_with_their_reasons(verdicts):
    for verdict in missed(verdicts):
        assert list(verdict["causes"])[-1] == "too_polite"
        if verdict["cause"] == "too_polite":
            assert verdict["causes"]["too_polite"] == pytest.approx(1, abs=0.01)
            assert "The prompt bows 1 times." in verdict["reasons"]
            assert "The weights of this cause were set by hand, not fitted." in verdict["reasons"]
        if verdict["cause"] == "pipeline:full_moon":
            assert verdict["reasons"][-1] == "The moon stood over this row."


def test_their_columns_can_be_filtered_by_and_their_counts_are_shown(run, verdicts):
    by_name = {column.name: column for column in run.columns}
    assert by_name["strength_too_polite"].label == "Good manners"
    assert by_name["evidence_bowing"].label == "Evidence: the prompt bows"
    assert by_name["fault_full_moon"].label == "Moon was full"
    overview = results.overview(run.id, Filter())
    for value, column in (("too_polite", "strength_too_polite=0.9..1"), ("pipeline:full_moon", "fault_full_moon=1")):
        ids = {v["id"] for v in missed(verdicts) if v["cause"] == value}
        assert ids and {row["sid"] for row in rows_where(run, f"cause={value}")} == ids
        assert ids <= {row["sid"] for row in rows_where(run, column)}
        assert overview.causes[value].k == len(ids)
        assert len(list(exports.lines(run.id, from_query(f"cause={value}", run.columns)))) == len(ids)
    assert any("Moon was full: " in text for _, text in overview.notes)
    assert "Ask bluntly." in [gain.advice for gain in decision.gains(run.id, overview.causes)]


def test_they_are_drawn_as_they_declare(run):
    from ui import charts

    shares = results.overview(run.id, Filter()).causes
    assert causes.values()[5] == "too_polite" and "pipeline:full_moon" in causes.values()
    bar = charts.causes(shares).data[0]
    place = [data[1] for data in bar.customdata].index
    for value, register, name in (
        ("too_polite", "causes", "too_polite"),
        ("pipeline:full_moon", "faults", "full_moon"),
    ):
        look = kind(register, name).look
        assert bar.marker.color[place(value)] == look.colour
        assert bar.marker.pattern.shape[place(value)] == look.pattern
        assert charts.cause_name(value).startswith(look.mark)
    assert charts.cause_name("too_polite") == "☞ Good manners"
    assert charts.cause_name("pipeline:full_moon") == "☾ Pipeline: moon was full"


def test_a_person_may_name_them(run):
    sid = rows_where(run, "cause=too_polite")[0]["sid"]
    people.override(run.id, sid, None, "pipeline:full_moon", "Ada", "It was.")
    people.override(run.id, sid, None, "too_polite", "Ada", "It was not.")
    assert people.agreement(run.id)["cause"].share == 1


def test_pages_show_them(run, open_page):  # noqa: F811
    at = open_page("samples", run="1")
    assert not at.exception and not at.error
    assert any("☞ Good manners" in str(group.proto.options) for group in at.get("button_group"))
    for query, texts in (
        ("cause=too_polite", ("☞ Good manners", "The prompt bows 1 times.", "set by hand, not fitted")),
        ("cause=pipeline:full_moon", ("The moon stood over this row.",)),
    ):
        at = open_page("samples", run="1", sample=rows_where(run, query)[0]["sid"])
        assert not at.exception and not at.error
        assert [text for text in texts if text not in words(at)] == []
        measured = next(d.value for d in at.dataframe if "what" in d.value)
        assert {"Bows", "Bows, both sides"} <= set(measured["column"])
    with database().reading() as conn:
        assert verdict_table.count(conn, run, from_query("cause=too_polite", run.columns))
