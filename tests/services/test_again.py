"""The dataset with a recipe's rows in it, to train again from the base: rows as in a proof, and configurations."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import yaml

from core.checkpoint.folders import as_checkpoint
from core.errors import UserError
from core.plugins import kinds, with_defaults
from core.services import advice, again, jobs, mitigation, proof_arms, proofs, runs
from core.services.recipes import RunPool, make_plan
from core.types import Filter, Proof, RunFacts, Term, TrainerState
from core.worker.here import run_here
from tests.services.test_mitigation import TRL_DEFAULT, any_filter, cause, quiet, seed_causes

RECIPES = list(kinds("recipes"))
COURSE = {"epochs": "3, 1"}


@pytest.fixture
def judged(tiny_project, final_run, monkeypatch):
    """A diagnosed run with the planted groups as causes and, as if it had been diagnosed with it, its base."""
    seed_causes(final_run, tiny_project)
    found = runs.get_run(final_run.id)
    run = replace(found, spec=replace(found.spec, base=as_checkpoint(tiny_project.base)))
    monkeypatch.setattr(mitigation, "get_run", lambda run_id: run)
    return run


def exported(run, recipe, out, course=COURSE, **settings):
    written = mitigation.export(run.id, any_filter(recipe), recipe, settings, out, {}, quiet, course)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest.items() >= written.manifest.items()
    return manifest, (out / "mitigation.jsonl").read_bytes().splitlines()


def arm(run, recipe, folder, course=COURSE):
    """The rows of the proof's treatment, without training."""
    request = mitigation.request(run.id, any_filter(recipe), recipe, {}, {})
    request |= {"budget": {s.name: s.default for s in proofs.budget(True)} | {"samples": 10_000} | course}
    proof = Proof(0, run.id, recipe, None, request | {"retrain": True}, {}, None, None, 0.0, None)
    arms = proof_arms.arms_of(run, proof, jobs.Terminal(lambda *_: None), folder)
    return [row.raw for stage in arms.stages("treatment", arms.n_added) for row in stage]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("course", [COURSE, {"epochs": "2"}, {"epochs": "4"}], ids=["by stage", "short", "alike"])
def test_the_rows_are_those_on_which_a_proof_trains(judged, tmp_path, recipe, course):
    manifest, lines = exported(judged, recipe, tmp_path / "out", course)
    trained = arm(judged, recipe, tmp_path / "arm", course)
    training = manifest["training"]
    if training["sequential"]:
        assert lines == trained and training["epochs"] == 1.0
        assert "Every pass is written out" in " ".join(manifest["notes"])
    else:
        assert kinds("recipes")[recipe].shuffles and course == {"epochs": "4"}
        assert Counter(lines * 4) == Counter(trained) and training["epochs"] == 4.0
    parts = manifest["file"]["parts"]
    assert parts.keys() - {"dataset"} <= set(kinds("recipes")[recipe].taught) and sum(parts.values()) == len(lines)
    assert manifest["starts_from"]["base"] == judged.spec.base.label
    assert len(manifest["changes"]) == manifest["file"]["changed"]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("epochs", ["1", "2, 1", "3", "9"])
def test_a_short_training_sees_the_rows_of_a_recipe_as_often_as_going_on_does(judged, tmp_path, recipe, epochs):
    chosen = kinds("recipes")[recipe]
    plan = make_plan(judged, any_filter(recipe), recipe, with_defaults(chosen, chosen.proof), {}).plan
    taught = sum(n for part, n in plan.counts.items() if part in chosen.taught)
    manifest, lines = exported(judged, recipe, tmp_path / "out", {"epochs": epochs})
    added = sum(n for part, n in manifest["file"]["parts"].items() if part != "dataset")
    of_dataset = manifest["file"]["parts"].get("dataset", 0)
    assert ("Give more epochs" in " ".join(manifest["notes"])) is (0 < of_dataset < added)
    assert "a log counts one" not in " ".join(manifest["notes"]), "these epochs were chosen"
    in_all, passes = added * manifest["training"]["epochs"], plan.training.epochs
    assert in_all >= taught * passes
    # Rows that are made twice or more, as kept sides are, count together.
    ours = Counter(row.raw for row in plan.rows() if row.part in chosen.taught)
    came = Counter(lines)
    assert all(came[row] * manifest["training"]["epochs"] >= int(n * passes) for row, n in ours.items())
    said = f"{passes:g} passes over the recipe's rows"
    assert (said in " ".join(manifest["notes"])) is (in_all == taught * passes and epochs != f"{passes:g}")


def test_only_a_log_is_said_to_be_short_of_passes(judged, tmp_path, monkeypatch):
    log = TrainerState("final", 100, 100, 1.0, 8)
    monkeypatch.setattr(again, "facts_of", lambda run: RunFacts(states=(log,)))
    manifest, _ = exported(judged, "under_optimised", tmp_path / "out", {"epochs": "", "order": "shuffled"})
    assert "had more: a log counts one where passes were written out." in " ".join(manifest["notes"])


@pytest.mark.parametrize("cause_of", ["missing_knowledge", "data_inconsistency", "left_side_forgetting"])
def test_a_recommendation_counts_the_rows_that_its_export_trains_on(judged, tmp_path, monkeypatch, cause_of):
    monkeypatch.setattr(advice, "get_run", lambda run_id: judged)
    options = advice.options(judged.id, Filter())
    (option,) = (o for o in options if (o.cause, o.what) == (cause_of, "again"))
    missed = Filter((Term("status", "in", advice.MISSED), *cause(cause_of).terms))
    written = mitigation.export(judged.id, missed, option.recipe, {}, tmp_path / "out", {}, quiet, {"epochs": ""})
    training = written.manifest["training"]
    assert option.rows == written.manifest["file"]["rows"] * training["epochs"]


def test_sides_that_a_proof_drops_are_left_out(judged, tiny_project, tmp_path):
    """An undecided contradiction is spread where training goes on; in new training nothing keeps its sides apart."""
    manifest, lines = exported(judged, "data_inconsistency", tmp_path / "out")
    assert manifest["settings"]["undecided"] == "majority" and manifest["starts_from"]["left_out"] > 0
    came = set(tiny_project.dataset.read_bytes().splitlines())
    assert len(came - set(lines)) == manifest["starts_from"]["left_out"]
    decided, lines = exported(judged, "data_inconsistency", tmp_path / "out", undecided="last")
    assert decided["settings"]["undecided"] == "last" and decided["settings"]["ties"] == "first"


def test_facts_may_be_left_out_of_the_dataset(judged, tmp_path):
    manifest, _ = exported(judged, "missing_knowledge", tmp_path / "out", action="leave_out")
    assert manifest["file"]["parts"].keys() == {"dataset"}
    assert manifest["starts_from"]["left_out"] == manifest["treated"]["samples"]


@TRL_DEFAULT
@pytest.mark.parametrize("recipe", ["missing_knowledge", "left_side_forgetting"])
def test_configurations_begin_with_the_base_and_train_all_weights(judged, tmp_path, monkeypatch, recipe):
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser, get_dataset

    out = tmp_path / "out"
    manifest, lines = exported(judged, recipe, out, {"epochs": "3", "batch": 4})
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(out)
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    _, training, model, mixture = parser.parse_args_and_config(["--config", "trl.yaml", "--use_cpu", "true"])
    assert model.model_name_or_path == judged.spec.base.path and not model.use_peft
    in_order = manifest["training"]["sequential"]
    assert in_order is (recipe == "missing_knowledge")
    assert training.train_sampling_strategy == ("sequential" if in_order else "random")
    assert training.num_train_epochs == (1.0 if in_order else 3.0)
    assert training.gradient_accumulation_steps * training.per_device_train_batch_size == 4
    assert training.learning_rate == pytest.approx(manifest["starts_from"]["learning_rate"])
    assert len(get_dataset(mixture)["train"]) == len(lines)
    factory = yaml.safe_load((out / "llama_factory.yaml").read_text())
    assert factory["model_name_or_path"] == judged.spec.base.path and factory["finetuning_type"] == "full"
    axolotl = yaml.safe_load((out / "axolotl.yaml").read_text())
    assert axolotl["base_model"] == judged.spec.base.path and "adapter" not in axolotl
    assert not any("lora" in key for key in (*factory, *axolotl))
    assert "epochs 3 (as chosen); 4 rows per step (as chosen)" in (out / "trl.yaml").read_text()


def test_an_adapter_is_trained_again_in_its_own_shape(judged, tiny_project, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_project.adapter, tmp_path / "adapter")
    shape = json.loads((folder / "adapter_config.json").read_text()) | {"use_rslora": True, "lora_dropout": 0.25}
    (folder / "adapter_config.json").write_text(json.dumps(shape))
    final = as_checkpoint(folder, tiny_project.base)
    run = replace(judged, spec=replace(judged.spec, final=final, base=None))
    monkeypatch.setattr(mitigation, "get_run", lambda run_id: run)
    out = tmp_path / "out"
    manifest, _ = exported(run, "under_optimised", out)
    trl, factory, axolotl = (
        yaml.safe_load((out / f"{n}.yaml").read_text()) for n in ("trl", "llama_factory", "axolotl")
    )
    assert trl["model_name_or_path"] == axolotl["base_model"] == str(tiny_project.base)
    assert (trl["lora_r"], trl["lora_alpha"], trl["lora_dropout"]) == (shape["r"], shape["lora_alpha"], 0.25)
    targets = sorted(shape["target_modules"])
    assert trl["lora_target_modules"] == axolotl["lora_target_modules"] == targets
    assert factory["lora_target"] == ",".join(targets) and "adapter_name_or_path" not in factory
    assert "lora_model_dir" not in axolotl and manifest["starts_from"]["method"] == "lora"
    assert any("use_rslora" in note for note in manifest["notes"])


@TRL_DEFAULT
def test_an_odd_adapter_is_named_as_it_is(judged, tiny_project, tmp_path, monkeypatch):
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    folder, pattern = shutil.copytree(tiny_project.adapter, tmp_path / "adapter"), r".*\.(q|v)_proj{1,2}"
    own = json.loads((folder / "adapter_config.json").read_text())
    final = as_checkpoint(folder, tiny_project.base)
    run = replace(judged, spec=replace(judged.spec, final=final, base=None))
    monkeypatch.setattr(mitigation, "get_run", lambda run_id: run)
    out = tmp_path / "out"

    def configurations(**shape):
        (folder / "adapter_config.json").write_text(json.dumps(own | shape))
        manifest, _ = exported(run, "under_optimised", out)
        texts = [(out / f"{n}.yaml").read_text() for n in ("trl", "llama_factory", "axolotl")]
        return " ".join(manifest["notes"]), texts, [yaml.safe_load(text) for text in texts]

    notes, texts, (trl, factory, axolotl) = configurations(
        peft_type="LOHA", target_modules=pattern, lora_alpha=float("nan")
    )
    assert "peft_type LOHA" in notes
    assert trl["lora_target_modules"] == axolotl["lora_target_modules"] == pattern
    assert factory["lora_target"] == "all" and repr(pattern) in texts[1]
    assert {c["lora_alpha"] for c in (trl, factory, axolotl)} == {8}  # PEFT's own
    notes, texts, (trl, *_) = configurations(lora_alpha=22.5, target_modules="all-linear")
    assert all("lora_alpha was 22.5" in text for text in texts)
    assert trl["lora_alpha"] == 22.5 and trl["lora_target_modules"] == "all-linear"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(out)
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    _, _, model, _ = parser.parse_args_and_config(["--config", "trl.yaml", "--use_cpu", "true"])
    assert model.lora_alpha == 22.5


@pytest.mark.parametrize("scope", ["selected", "dataset"])
def test_mended_rows_stand_alone_in_place_of_their_originals(judged, tmp_path, scope):
    chosen = cause("base_conflict")
    course = {"epochs": "2, 1"} if scope == "selected" else {"epochs": "2", "order": "shuffled"}
    written = mitigation.export(judged.id, chosen, "pipeline_repair", {"scope": scope}, tmp_path, {}, quiet, course)
    facts, treated = written.manifest["file"], written.manifest["treated"]["samples"]
    assert written.manifest["starts_from"]["left_out"] == (treated if scope == "selected" else judged.n_samples)
    if scope == "dataset":
        assert facts["parts"] == {"rows": judged.n_samples}
    else:
        assert facts["parts"]["rows"] >= treated and facts["parts"]["dataset"]


def test_an_answer_that_was_rewritten_does_not_come_back(judged, tmp_path):
    pool = RunPool(judged, [], {})
    groups, (first, *_) = pool.numbers("group"), pool.select("cause=data_inconsistency")
    sample = next(pool.rows([first]))
    others = [o for o in np.flatnonzero(groups == groups[first]).tolist() if o != first]
    told = tmp_path / "decisions.jsonl"
    told.write_text(json.dumps({"id": sample.id, "action": "rewrite", "text": "Quite another."}))
    dropped = Filter((Term("ordinal", "range", (others[0], others[0])),))
    for chosen in (any_filter("data_inconsistency"), dropped):
        files, out = {"decisions": told}, tmp_path / "out"
        mitigation.export(judged.id, chosen, "data_inconsistency", {}, out, files, quiet, COURSE)
        lines = (out / "mitigation.jsonl").read_bytes().splitlines()
        assert sample.raw not in lines and any(b"Quite another." in line for line in lines)


def test_nothing_to_train_on_is_an_error(judged, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"0\.001(, 0\.001)? epochs"):
        exported(judged, "base_conflict", out, {"epochs": "0.001"})
    with pytest.raises(UserError, match="every row of the dataset"):
        mitigation.export(judged.id, Filter(), "missing_knowledge", {"action": "leave_out"}, out, {}, quiet, COURSE)
    with pytest.raises(UserError, match="learning_rate"):
        exported(judged, "base_conflict", out, {"learning_rate": float("inf")})


def test_a_base_that_is_not_here_has_a_placeholder(judged, tmp_path, monkeypatch):
    spec = judged.spec
    gone = replace(spec, base=replace(spec.base, path=str(tmp_path / "gone")))
    monkeypatch.setattr(again, "read_folder", lambda path: pytest.fail(f"{path} was read"))
    for odd in (replace(spec, origin="0" * 64), gone):
        run = replace(judged, spec=odd)
        monkeypatch.setattr(mitigation, "get_run", lambda run_id, run=run: run)
        manifest, _ = exported(run, "base_conflict", tmp_path / "out")
        for name in ("trl", "llama_factory", "axolotl"):
            text = (tmp_path / "out" / f"{name}.yaml").read_text()
            assert "path/to/your/base" in text and odd.base.path not in text
        assert any("path/to/your/base" in note for note in manifest["notes"])


def test_notes_on_rows_that_are_not_used_stay_away(judged, tmp_path):
    asked = {"contrast_ratio": 50.0}
    on = mitigation.export(judged.id, any_filter("base_conflict"), "base_conflict", asked, tmp_path, {}, quiet)
    assert any("contrast rows for" in note for note in on.manifest["notes"])
    manifest, _ = exported(judged, "base_conflict", tmp_path / "out", **asked)
    assert not any("contrast rows" in note for note in manifest["notes"])


def test_without_a_base_it_is_refused(tiny_project, final_run, tmp_path):
    seed_causes(final_run, tiny_project)
    with pytest.raises(UserError, match="base that this training began with"):
        exported(runs.get_run(final_run.id), "under_optimised", tmp_path / "out")


def test_jobs_and_the_command_line_take_the_course(judged, tmp_path, capsys):
    from core.__main__ import main

    asked = mitigation.request(judged.id, cause("base_conflict"), "base_conflict", {}, {}, course=COURSE)
    preview = run_here(mitigation.start_preview(asked))
    done = run_here(mitigation.start_export(asked))
    assert done["parts"] == preview["parts"] and done["rows"] == preview["total"] and done["parts"]["dataset"]
    assert {row["part"] for row in preview["rows"]} >= {"dataset", "context", "plain"}
    out = tmp_path / "cli"
    arguments = ["mitigate", "--run", str(judged.id), "--recipe", "base_conflict", "--filter", "cause=base_conflict",
                 "--out", str(out)]  # fmt: skip
    assert main([*arguments, "--again", "--course", "epochs=3, 1"]) == 0
    assert json.loads((out / "manifest.json").read_text())["file"]["sha256"] == done["sha256"]
    assert "dataset" in capsys.readouterr().err
    assert main([*arguments, "--again", "--course", "epoch=3"]) == 2
    assert "Did you mean 'epochs'" in capsys.readouterr().err
    assert main([*arguments, "--course", "epochs=3"]) == 2
    assert "Give --again" in capsys.readouterr().err
    with pytest.raises(UserError, match="how many epochs"):
        exported(judged, "base_conflict", out, {"epochs": "many"})


def test_rows_that_are_kept_aside_come_back_byte_by_byte():
    rows = [again.Made(b'{"a": "\xff\xed\xa0\x80"}', None, "x", "c", b"\x80"), again.Made(b"\xc3\xa9", "s", "y")]
    kept = again._Kept(iter(rows))
    assert [kept[1], kept[0], kept[1]] == [rows[1], rows[0], rows[1]] and kept.codes.tolist() == [0, 1]
