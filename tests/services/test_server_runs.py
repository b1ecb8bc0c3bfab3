"""A diagnosis of a model that a server holds: the same numbers as from its folder, and what is missing said."""

import json

import pytest

from core.__main__ import main
from core.backends import _server
from core.checkpoint import servers
from core.errors import UserError
from core.lab import tiny
from core.services import checkpoints, exports, results, runs, samples
from core.settings import settings
from core.types import Checkpoint, Filter, RunSpec
from tests.engine_server import serving


@pytest.fixture(scope="module")
def models(tiny_project):
    return {"tuned": tiny.load(tiny_project.final)[0], "before": tiny.load(tiny_project.base)[0]}


@pytest.fixture
def engine(models, tiny_project, monkeypatch):
    """flavour to a running server of the project's final model and its base."""
    monkeypatch.setattr(_server, "WAITS", (0.01, 0.01))
    monkeypatch.setattr(_server, "_named_here", set())
    closing = []

    def make(flavour, **options):
        tokenizer = tiny.load(tiny_project.final)[1]
        context = models["tuned"].config.max_position_embeddings
        held = serving(flavour, models, **({"tokenizer": tokenizer, "context": context} | options))
        closing.append(held)
        return held.__enter__()

    yield make
    for held in closing:
        held.__exit__(None, None, None)
    settings.cache_clear()


@pytest.fixture
def few(tiny_project, tmp_path):
    withheld = [row for row in tiny_project.rows if tiny_project.groups.get(row["id"]) == "withheld"]
    others = [row for row in tiny_project.rows if row not in withheld]
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*others[::12], *withheld]), encoding="utf-8")
    return path


def diagnosed(few, *source):
    out = few.with_suffix(".verdicts")
    options = ["--max-new-tokens", "24", "--max-draws", "10", "--scorer", "exact", "--no-config", "--out", str(out)]
    assert main(["diagnose", "--dataset", str(few), *map(str, source), *options]) == 0
    run = runs.list_runs()[0]
    return run, {line["id"]: line for line in map(json.loads, out.read_text(encoding="utf-8").splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("flavour", ["vllm", "sglang"])
def test_a_server_gives_the_numbers_of_the_folder(few, engine, tiny_project, flavour):
    server = engine(flavour)
    # A server of the other kind holds one model.
    base = [["--server-base", "before"], ["--base", tiny_project.base]] if flavour == "vllm" else [[], []]
    source = ["--backend", "openai_server", "--server", server.url, "--server-model", "tuned"]
    run, verdicts = diagnosed(few, *source, "--tokenizer", tiny_project.final, *base[0])
    _, whole = diagnosed(few, "--checkpoint", tiny_project.final, *base[1])
    assert verdicts.keys() == whole.keys() and len(verdicts) == 10
    for sid, verdict in verdicts.items():
        assert verdict["nll"] == pytest.approx(whole[sid]["nll"], abs=1e-4)
        for same in ("status", "greedy_exact"):
            assert verdict[same] == whole[sid][same], (sid, same)
    rows = {row["sid"]: row for row in samples.page(run.id, Filter(), limit=500).rows}
    for empty in ("logp_07", "prec_nll"):
        assert {row[empty] for row in rows.values()} == {None}, empty
    assert not base[0] or all(row["base_nll"] is not None for row in rows.values())
    lacks = {gap.lack for gap in run.gaps}
    assert lacks >= {"probabilities at temperatures other than 1"}
    notes = [text for state, text in results.run_notes(run) if state == "unknown"]
    assert any("does not give probabilities at temperatures other than 1. Not measured: " in n for n in notes)
    assert run.spec.final.server.flavour == flavour and run.spec.backend == "openai_server"
    assert RunSpec.from_dict(json.loads(json.dumps(run.spec.as_dict()))) == run.spec
    states = {c["code"]: c["state"] for c in run.summary["card"]["checks"]}
    assert states["server"] == states["server_tokenizer"] == "pass" and states["weights_on_server"] == "unknown"
    assert "sk-" not in json.dumps(run.spec.as_dict())


@pytest.mark.slow
def test_a_plain_server_is_judged_by_its_answers(few, engine, tiny_project):
    server = engine("plain")
    run, verdicts = diagnosed(few, "--server", server.url, "--server-model", "tuned", "--tokenizer", tiny_project.final)
    _, whole = diagnosed(few, "--checkpoint", tiny_project.final)
    for sid, verdict in verdicts.items():
        assert (verdict["nll"], verdict["p_exact"]) == (None, None)
        assert (verdict["status"] == "learned") == (whole[sid]["status"] == "learned"), sid
    assert {"log-probabilities of given tokens"} <= {gap.lack for gap in run.gaps}
    assert list(exports.verdict_lines(run.id))


@pytest.mark.parametrize("flavour", ["vllm", "sglang", "transformers", "plain"])
def test_the_kind_of_a_server_is_seen_by_what_it_answers(engine, tiny_project, flavour):
    server = engine(flavour)
    found = servers.as_checkpoint(servers.allow(server.url), "tuned", tiny_project.final)
    assert found.server.flavour == flavour and found.label == "tuned" and found.base is None
    assert (found.server.probe is not None) == (flavour in ("vllm", "sglang"))
    again = servers.as_checkpoint(servers.allow(server.url), "tuned", tiny_project.final)
    assert again.fingerprint == found.fingerprint
    if flavour != "sglang":  # which holds one model
        assert servers.as_checkpoint(server.url, "before", tiny_project.final).fingerprint != found.fingerprint
    assert Checkpoint(**json.loads(json.dumps(found.as_dict()))) == found


def test_a_model_that_is_not_listed_is_named_with_the_choices(engine, tiny_project):
    url = servers.allow(engine("vllm").url)
    with pytest.raises(UserError, match=r"no model on http\S+ named 'tunde'.*before, tuned.*Did you mean 'tuned'"):
        servers.as_checkpoint(url, "tunde", tiny_project.final)
    with pytest.raises(UserError, match=r"lists 2 models\..*before, tuned"):
        servers.as_checkpoint(url, "", tiny_project.final)


@pytest.mark.parametrize("flavour", ["vllm", "sglang", "plain"])
def test_another_tokenizer_is_refused(engine, tiny_project, flavour, tmp_path):
    tokenizer = tiny.load(tiny_project.final)[1]
    tokenizer.save_pretrained(tmp_path)
    held = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    held["model"]["merges"] = held["model"]["merges"][: len(held["model"]["merges"]) // 2]
    (tmp_path / "tokenizer.json").write_text(json.dumps(held), encoding="utf-8")
    url = servers.allow(engine(flavour).url)
    with pytest.raises(UserError, match=r"The tokenizer of tuned on http\S+ is not the folder's\."):
        servers.as_checkpoint(url, "tuned", tmp_path)


def test_other_weights_under_the_same_name_are_noticed(engine, models, tiny_project):
    server = engine("vllm")
    found = servers.as_checkpoint(servers.allow(server.url), "tuned", tiny_project.final)
    server.models["tuned"] = models["before"]
    states = {c.code: c for c in servers.server_checks(found)}
    assert states["server"].state == "fail" and "is not the one that was registered" in states["server"].text


def test_the_command_says_what_is_missing(few, tiny_project, capsys):
    at = ["diagnose", "--dataset", str(few), "--no-config"]
    assert main([*at, "--server", "http://127.0.0.1:9/v1"]) == 2
    assert "--tokenizer FOLDER" in capsys.readouterr().err
    assert main([*at, "--server-model", "tuned"]) == 2
    assert "--server-model goes with --server" in capsys.readouterr().err
    both = ["--server", "http://127.0.0.1:9/v1", "--checkpoint", str(tiny_project.final)]
    assert main([*at, *both]) == 2
    assert "--checkpoint does not go with --server" in capsys.readouterr().err
    source = ["--checkpoint", str(tiny_project.final), "--backend", "openai_server"]
    assert main([*at, *source]) == 2
    assert "'openai_server' does not run" in capsys.readouterr().err
    assert checkpoints.list_checkpoints() == []
