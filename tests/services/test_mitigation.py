"""Exports of recipes over a real run: files, manifest, configurations, and that trainers take them."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from core.errors import UserError
from core.filters import from_query
from core.plugins import kinds, parsed_settings
from core.services import mitigation, runs
from core.services.recipes import RunPool
from core.types import Decision, Filter, Term
from core.worker.here import run_here
from db import decisions
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

RECIPES = list(kinds("recipes"))


@pytest.fixture
def judged(tiny_project, final_run):
    """A diagnosed run whose verdicts carry the planted groups as causes and contradictions by hand."""
    seed_causes(final_run, tiny_project)
    return runs.get_run(final_run.id)


PLANTED = {"conflict": "base_conflict", "unseen": "missing_knowledge", "contradictory": "data_inconsistency",
           "new_early": "left_side_forgetting", "long_code": "under_optimised"}  # fmt: skip


def seed_causes(run, project):
    """Writes planted causes into the run's verdict table, as judging would."""
    from core.types import Column

    with database().reading() as conn:
        order = sample_table.order(conn, run.spec.dataset_id)
        columns = verdict_table.verdict_columns(conn, run, [c.name for c in run.columns])
        samples = list(sample_table.iter_samples(conn, run.spec.dataset_id))
    groups = [project.groups[sid] for sid in order["sid"]]
    columns["cause"] = np.array([PLANTED.get(g) for g in groups], dtype=object)
    columns["confidence"] = np.where([g in PLANTED for g in groups], 0.9, np.nan)
    subjects = {}
    group = np.full(len(groups), np.nan)
    for i, (sample, name) in enumerate(zip(samples, groups, strict=True)):
        if name == "contradictory":
            group[i] = subjects.setdefault(sample.response.split()[0], len(subjects))
    columns["group"] = group
    declared = run.columns
    if not any(c.name == "group" for c in declared):
        declared = (*declared, Column("group", "number", "Contradiction"))
    with database().writing() as conn:
        verdict_table.write_verdicts(conn, replace(run, columns=declared), columns, order["ordinal"], order["sid"])


def quiet(done, total):
    pass


def cause(name):
    return Filter((Term("cause", "in", (name,)),))


def any_filter(recipe):
    own = kinds("recipes")[recipe].causes[0]
    return cause(own) if own in kinds("causes") else Filter((Term("status", "in", ("unlearned", "partly", "unknown")),))


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_export_says_what_it_is_and_its_raw_rows_are_the_lines_that_came(judged, tiny_project, tmp_path, recipe):
    out = tmp_path / "out"
    written = mitigation.export(judged.id, any_filter(recipe), recipe, {}, out, {}, quiet)
    assert sorted(p.name for p in out.iterdir()) == sorted(written.files)
    data = (out / "mitigation.jsonl").read_bytes()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["file"]["sha256"] == hashlib.sha256(data).hexdigest()
    lines = data.splitlines()
    came = set(tiny_project.dataset.read_bytes().splitlines())
    changed = {c["line"]: c for c in manifest["changes"]}
    assert len(changed) == manifest["file"]["changed"]
    for number, line in enumerate(lines, 1):
        assert (line in came) != (number in changed)
    for change in changed.values():
        assert change["diff"] and change["change"] and change["sample"] in tiny_project.groups
    assert manifest["file"]["rows"] == len(lines) == sum(manifest["file"]["parts"].values())
    assert manifest["risks"] and manifest["expected_effect"]
    assert manifest["run"]["id"] == judged.id and manifest["filter"]["query"]
    assert set(manifest["settings"]) == {s.name for s in kinds("recipes")[recipe].settings}


# TRL 1.16 sets an argument that transformers 5.23 wants under another name.
TRL_DEFAULT = pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")


@TRL_DEFAULT
@pytest.mark.parametrize("recipe", RECIPES)
def test_exports_load_unchanged_and_configurations_parse(judged, tmp_path, monkeypatch, recipe):
    import yaml
    from datasets import load_dataset
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser, get_dataset

    out = tmp_path / "out"
    written = mitigation.export(judged.id, any_filter(recipe), recipe, {}, out, {}, quiet)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    found = load_dataset("json", data_files=str(out / "mitigation.jsonl"), split="train", cache_dir=str(tmp_path / "c"))
    rows = [json.loads(line) for line in (out / "mitigation.jsonl").read_bytes().splitlines()]
    assert found["messages"][:] == [r["messages"] for r in rows]
    assert found["stage"][:] == [r["stage"] for r in rows]
    monkeypatch.chdir(out)
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    _, training, model, mixture = parser.parse_args_and_config(["--config", "trl.yaml", "--use_cpu", "true"])
    assert model.model_name_or_path == judged.spec.final.path
    sequential = written.manifest["training"]["sequential"]
    assert training.train_sampling_strategy == ("sequential" if sequential else "random")
    assert len(get_dataset(mixture)["train"]) == len(rows)
    factory = yaml.safe_load((out / "llama_factory.yaml").read_text())
    assert factory["disable_shuffling"] is sequential
    info = json.loads((out / "dataset_info.json").read_text())[factory["dataset"]]
    assert info["file_name"] == "mitigation.jsonl" and info["columns"]["messages"] == "messages"
    axolotl = yaml.safe_load((out / "axolotl.yaml").read_text())
    assert axolotl["curriculum_sampling"] is sequential and axolotl["datasets"][0]["path"] == "mitigation.jsonl"
    batch = written.manifest["training"]["batch"]
    for config, at_once in ((factory, "per_device_train_batch_size"), (axolotl, "micro_batch_size")):
        assert config[at_once] * config["gradient_accumulation_steps"] == batch


@TRL_DEFAULT
def test_an_export_trains_one_step_in_trl(judged, tmp_path, monkeypatch):
    """With its own configuration: the trainer sees the rows in the file's order where the recipe asks for it."""
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, SFTTrainer, TrlParser, get_dataset

    out = tmp_path / "out"
    mitigation.export(
        judged.id,
        cause("data_inconsistency"),
        "data_inconsistency",
        {"batch": 4, "undecided": "spread"},
        out,
        {},
        quiet,
    )
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.chdir(out)
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    _, training, model, mixture = parser.parse_args_and_config(
        ["--config", "trl.yaml", "--use_cpu", "true", "--max_steps", "1", "--bf16", "false", "--disable_tqdm", "true",
         "--gradient_checkpointing", "false", "--save_strategy", "no"]
    )  # fmt: skip
    data = get_dataset(mixture)["train"]
    trainer = SFTTrainer(model=model.model_name_or_path, args=training, train_dataset=data)
    assert list(trainer._get_train_sampler(trainer.train_dataset)) == list(range(len(data)))
    result = trainer.train()
    assert trainer.state.global_step == 1 and np.isfinite(result.training_loss)


def test_a_failed_export_leaves_what_was_there(judged, tmp_path):
    out = tmp_path / "out"
    mitigation.export(judged.id, cause("left_side_forgetting"), "left_side_forgetting", {}, out, {}, quiet)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    (out / "mine.txt").write_text("a person's own file")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mitigation.export(judged.id, cause("base_conflict"), "base_conflict", {}, out, {}, stop)
    after = {p.name: p.read_bytes() for p in out.iterdir()}
    assert after == before | {"mine.txt": b"a person's own file"}


def test_jobs_preview_and_export_what_was_asked(judged):
    asked = mitigation.request(judged.id, cause("base_conflict"), "base_conflict", {"plain": 3}, {})
    preview = run_here(mitigation.start_preview(asked))
    assert preview["parts"]["plain"] == 3 * preview["treated"]
    assert preview["rows"][0]["diff"] and preview["risks"]
    job = mitigation.start_export(asked)
    done = run_here(job)
    assert done["parts"] == preview["parts"] and done["rows"] == preview["total"]
    for name, size in done["files"].items():
        assert mitigation.exported_file(job, name).stat().st_size == size
    with pytest.raises(UserError, match="no file"):
        mitigation.exported_file(job, "../../lacuna.db")


def test_filters_choose_the_rows(judged, tmp_path):
    chosen = from_query("cause=base_conflict,missing_knowledge&confidence=0.5..&stage=2", judged.columns)
    written = mitigation.export(judged.id, chosen, "under_optimised", {}, tmp_path / "o", {}, quiet)
    assert set(written.manifest["treated"]["by_cause"]) == {"base_conflict", "missing_knowledge"}
    with pytest.raises(UserError, match="No sample passes"):
        mitigation.export(
            judged.id, from_query("confidence=0.95..", judged.columns), "under_optimised", {}, tmp_path / "o", {}, quiet
        )


@pytest.mark.parametrize(
    ("recipe", "settings", "said"),
    [
        ("base_conflct", {}, "Did you mean 'base_conflict'"),
        ("base_conflict", {"plane": 1}, "Did you mean 'plain'"),
        ("base_conflict", {"plain": 0}, "at least 1"),
    ],
)
def test_wrong_names_and_values_are_answered(judged, tmp_path, recipe, settings, said):
    with pytest.raises(UserError, match=said):
        mitigation.export(judged.id, Filter(), recipe, settings, tmp_path / "o", {}, quiet)


def test_settings_from_a_command_line():
    recipe = kinds("recipes")["under_optimised"]
    assert parsed_settings(recipe, {"curriculum": "yes", "most": "3", "share": "0.25"}) == {
        "curriculum": True, "most": 3, "share": 0.25,
    }  # fmt: skip
    for texts, said in (({"most": "many"}, "whole number"), ({"curriculum": "perhaps"}, "true or false")):
        with pytest.raises(UserError, match=said):
            parsed_settings(recipe, texts)


def test_the_command_writes_the_folder(judged, tmp_path, capsys):
    from core.__main__ import main

    out = tmp_path / "cli"
    texts = tmp_path / "facts.txt"
    texts.write_text("A passage.\n")
    arguments = ["mitigate", "--run", str(judged.id), "--recipe", "missing_knowledge", "--out", str(out)]
    arguments += ["--filter", "cause=missing_knowledge", "--set", "statements=2", "--set", f"documents={texts}"]
    assert main(arguments) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"]["statements"] == 2 and manifest["file"]["parts"]["documents"] == 1
    assert manifest["files"]["documents"]["sha256"] == hashlib.sha256(texts.read_bytes()).hexdigest()
    assert f"{manifest['file']['rows']:,} rows" in capsys.readouterr().err
    assert main(["mitigate", "--run", str(judged.id), "--recipe", "nope", "--out", str(out)]) == 2
    assert "There are: base_conflict" in capsys.readouterr().err


def test_decisions_on_contradictions_become_rulings_of_the_recipe(judged):
    """What a person kept, dropped or called valid on both sides is what the recipe is told of those rows."""
    decided = [
        Decision("a", "keep", ("h1",), ("h1", "h2"), "Ada", "", 1.0),
        Decision("b", "drop", (), ("h3",), "Ada", "", 2.0),
        Decision("c", "both_valid", (), ("h4", "h2"), "Ada", "", 3.0),
    ]
    with database().writing() as conn:
        for decision in decided:
            decisions.decide(conn, judged.spec.dataset_id, decision)
    found = RunPool(judged, [], {}).rulings
    kinds = {h: (r.kind, r.text) for h, r in found.items()}
    assert kinds == {"h1": ("keep", ""), "h2": ("rewrite", ""), "h3": ("drop", ""), "h4": ("rewrite", "")}
