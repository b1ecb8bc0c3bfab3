"""A backend is one file, and one that gives little is a backend too: what it lacks is not measured, and that is said.

Each kind here is written to a temporary folder and knows nothing of Lacuna but the contract. It runs the checkpoint by
itself, row by row, so that its numbers are a twin of the packaged backend's.
"""

import json
import textwrap

import pytest

from core.checkpoint.folders import as_checkpoint
from core.errors import UserError
from core.services import datasets, exports, jobs, preflight, results, runs, samples, specs
from core.settings import settings
from core.signals._instruments import Instruments
from core.types import Filter, RunSpec
from core.worker.here import run_here

OPENED = """
    import numpy as np

    class Opened:
        device, dtype, stop_ids = "cpu", "float32", ()
        context_length = vocab_size = None

        def __init__(self, path, tokenizer):
            from transformers import AutoModelForCausalLM
            self.model = AutoModelForCausalLM.from_pretrained(path).eval()
            self.tokenizer = tokenizer

        def logits(self, ids):
            import torch
            with torch.no_grad():
                return self.model(torch.tensor(ids)[None]).logits[0].double().log_softmax(-1).numpy()

        def close(self):
            self.model = None
"""
SCORES = """
    from core.types import TokenScores

    class Scores(Opened):
        def score(self, rows):
            return [self.scores(row) for row in rows]

        def scores(self, row):
            places = row.positions
            chances = self.logits(row.ids.tolist())[places - 1, row.ids[places]] if len(places) else np.empty(0)
            return TokenScores.of(places, chances.astype(np.float32))

    class Kind:
        name, label, help = "only_scores", "A server of scores", "Log-probabilities of given tokens, nothing else."
        capabilities = frozenset({"logprobs"})

        def open(self, checkpoint, dtype="float32", device="auto", tokenizer=None, merged=False):
            return Scores(checkpoint.path, tokenizer)

    KIND = Kind()
"""
GENERATES = """
    from core.types import Generation

    class Generates(Opened):
        def generate(self, prompts, decodings, stop_ids):
            return [self.continued(*each, stop_ids) for each in zip(prompts, decodings, strict=True)]

        def continued(self, prompt, decoding, stop_ids):
            ids, draws = prompt.tolist(), np.random.default_rng(decoding.seed)
            for _ in range(decoding.max_new_tokens):
                scores = self.logits(ids)[-1]
                if decoding.temperature:
                    scores = scores / decoding.temperature + draws.gumbel(size=len(scores))
                ids.append(int(scores.argmax()))
                if ids[-1] in stop_ids:
                    break
            new = np.array(ids[len(prompt):])
            stopped = bool(len(new)) and int(new[-1]) in stop_ids
            text = self.tokenizer.decode(new[: len(new) - stopped].tolist()) if self.tokenizer else ""
            return Generation(new, text, stopped, decoding)

    class Kind:
        name, label, help = "only_generates", "A server of answers", "Generates, and says nothing about likelihood."
        capabilities = frozenset({"generations"})

        def open(self, checkpoint, dtype="float32", device="auto", tokenizer=None, merged=False):
            return Generates(checkpoint.path, tokenizer)

    KIND = Kind()
"""


@pytest.fixture(autouse=True)
def new_kinds(tmp_path, monkeypatch):
    folder = tmp_path / "kinds" / "backends"
    folder.mkdir(parents=True)
    for name, text in (("only_scores", SCORES), ("only_generates", GENERATES)):
        (folder / f"{name}.py").write_text(textwrap.dedent(OPENED) + textwrap.dedent(text), encoding="utf-8")
    monkeypatch.setenv("LACUNA_KINDS_DIR", str(folder.parent))
    settings.cache_clear()


@pytest.fixture
def dataset(tiny_project, tmp_path):
    """A few rows of every kind, learned ones and ones that were never trained."""
    withheld = [row for row in tiny_project.rows if tiny_project.groups.get(row["id"]) == "withheld"]
    others = [row for row in tiny_project.rows if row not in withheld]
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*others[::12], *withheld]), encoding="utf-8")
    return datasets.import_files([path], [path.name], "few", None, jobs.Terminal(lambda *_: None))


@pytest.fixture
def spec(dataset, tiny_project):
    def make(backend):
        final, base = (as_checkpoint(p, None, p.name) for p in (tiny_project.final, tiny_project.base))
        return specs.make_spec(
            dataset.id, final, base, backend=backend, max_new_tokens=24, max_draws=10, scorer="exact"
        )

    return make


def diagnosed(spec):
    run_id, job = runs.start(runs.store_run("", spec))
    run_here(job)
    run = runs.get_run(run_id)
    assert run.state == "judged"
    return run, {line["id"]: line for line in map(json.loads, exports.verdict_lines(run_id))}


def values(run):
    return {row["sid"]: row for row in samples.page(run.id, Filter(), limit=500).rows}


@pytest.mark.slow
def test_a_backend_that_only_scores(spec):
    run, verdicts = diagnosed(spec("only_scores"))
    _, whole = diagnosed(spec("hf"))
    assert {v["status"] for v in verdicts.values()} == {"learned", "unknown"}
    for sid, verdict in verdicts.items():
        assert verdict["nll"] == pytest.approx(whole[sid]["nll"], abs=1e-4)
        assert verdict["p_exact"] == pytest.approx(whole[sid]["p_exact"], abs=1e-4)
        # What it can prove is true, and what it cannot prove is left open.
        assert verdict["greedy_exact"] in ((True, None) if whole[sid]["greedy_exact"] else (None,))
        assert (verdict["status"] == "learned") == (verdict["greedy_exact"] is True)
    rows = values(run)
    for empty in ("near_tie", "logp_07", "score", "draws", "base_knowledge", "prec_nll"):
        assert {row[empty] for row in rows.values()} == {None}, empty
    assert all(row["base_nll"] is not None for row in rows.values())
    labels = {label for gap in run.gaps for label in gap.labels}
    assert {"Reproduction", "Knowledge", "Precision", "Likelihood (near tie)"} <= labels
    assert not any("loss" in label.lower() for label in labels)


def test_what_is_not_measured_is_said_with_the_reason(spec):
    run, verdicts = diagnosed(spec("only_scores"))
    reason = "the backend “A server of scores” does not give"
    open_ones = [v for v in verdicts.values() if v["status"] == "unknown"]
    assert open_ones and all(reason in " ".join(v["reasons"]) for v in open_ones)
    notes = [text for state, text in results.run_notes(run) if state == "unknown"]
    assert any(
        "The backend “A server of scores” does not give an answer to each row. Not measured: " in n for n in notes
    )
    faults = {f["code"]: f for f in run.summary["faults"]}
    assert faults["stop_not_learned"]["state"] == faults["precision_or_merge"]["state"] == "unknown"
    assert reason in faults["precision_or_merge"]["needs"]
    view = samples.sample(run.id, open_ones[0]["id"], Filter())
    assert {piece.hit for piece in view.pieces} <= {True, None}
    assert [turn.greedy_exact for turn in view.turns] == [None]


@pytest.mark.slow
def test_a_backend_that_only_generates(spec):
    run, verdicts = diagnosed(spec("only_generates"))
    _, whole = diagnosed(spec("hf"))
    for sid, verdict in verdicts.items():
        assert (verdict["nll"], verdict["greedy_exact"], verdict["p_exact"]) == (None, None, None)
        assert (verdict["status"] == "learned") == (whole[sid]["status"] == "learned"), sid
    assert {"learned", "unlearned"} <= {v["status"] for v in verdicts.values()}
    rows = values(run)
    assert all(row["n_target"] > 0 and row["turns"] > 0 for row in rows.values())
    assert not any(name.startswith("base_nll") for name in next(iter(rows.values())))
    labels = {label for gap in run.gaps for label in gap.labels}
    assert {"Likelihood", "Knowledge", "Other renderings", "Precision"} <= labels
    missed = next(v for v in verdicts.values() if v["status"] == "unlearned")
    view = samples.sample(run.id, missed["id"], Filter())
    assert view.turns[0].output and view.turns[0].greedy_exact is None
    sentences = [r.text for r in (*view.verdict.reasons, *(s for f in view.verdict.findings for s in f.reasons))]
    assert not any("nan" in text for text in sentences)
    # The base was given, and the backend cannot score it: that is the reason, not that there is none.
    assert any(text.startswith("Not judged: it takes the loss of each row") for text in sentences), sentences


@pytest.mark.parametrize("backend", ["only_scores", "only_generates"])
def test_the_check_before_the_start_says_what_will_be_missing(spec, backend):
    chosen = spec(backend)
    context = jobs.Terminal(lambda *_: None)
    found = preflight.handle_preflight(context, {"spec": chosen.as_dict()})
    assert found["usable"] and found["estimate"]["seconds"] > 0
    lines = [c for c in found["card"]["checks"] if c["code"] == "backend"]
    assert lines and {c["state"] for c in lines} == {"unknown"}


def test_the_backend_is_part_of_what_is_asked(spec):
    packaged, other = spec("hf"), spec("only_scores")
    assert packaged.hash != other.hash
    assert "backend" not in packaged.as_dict()
    assert RunSpec.from_dict(packaged.as_dict()) == packaged and RunSpec.from_dict(other.as_dict()) == other
    names = [form.name for form in specs.backends(packaged.final)]
    assert names[0] == "hf" and {"only_generates", "only_scores"} < {*names} and "openai_server" not in names
    with pytest.raises(UserError, match=r"no backend named 'only_score'.*only_scores"):
        spec("only_score")


def test_a_signal_that_asks_for_what_is_not_given_is_told(spec):
    chosen = spec("only_scores")
    instruments = Instruments(chosen, "cpu")
    try:
        with pytest.raises(UserError, match="does not give generated answers"):
            instruments.generating(chosen.final)
    finally:
        instruments.close()
