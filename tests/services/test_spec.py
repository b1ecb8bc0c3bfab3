"""What a run's specification keeps, so that the run can be measured again later."""

import json
import shutil

from core.checkpoint.folders import as_checkpoint
from core.services import checkpoints, jobs, runs, specs
from core.types import RunSpec
from tests.presets import families as fam


def test_the_same_run_started_twice_is_one_run(tiny_project, stored):
    """Two people, or one who clicks twice."""
    here = jobs.Terminal(lambda *_: None)
    (checkpoint,) = checkpoints.register_folder(tiny_project.final, None, owned=False, work=here)
    first = runs.create_run("mine", stored.id, checkpoint.id, seed=3)
    assert runs.create_run("hers", stored.id, checkpoint.id, seed=3) == first
    assert runs.create_run("other", stored.id, checkpoint.id, seed=4)[0] != first[0]
    jobs.cancel_job(first[1])
    again = runs.create_run("again", stored.id, checkpoint.id, seed=3)
    assert again[0] != first[0] and len(runs.list_runs()) == 3


def test_a_trl_run_keeps_the_training_template_it_renders_with(tiny_project, stored, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_project.final, folder)
    shutil.copy(fam.TRL_TEMPLATES / "qwen3.jinja", folder / "chat_template.jinja")
    final = as_checkpoint(folder, None, "final")
    spec = specs.make_spec(stored.id, final, preset="trl", preset_settings={"assistant_only_loss": True})
    text = (fam.TRL_TEMPLATES / "qwen3_training.jinja").read_text()
    run = runs.store_run("", spec)
    assert runs.get_run(run.id).spec.preset_settings["training_template"] == text
    assert RunSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec
    every_token = specs.make_spec(stored.id, final, preset="trl")
    assert every_token.preset_settings["training_template"] == ""
    assert "training_template" not in specs.make_spec(stored.id, final).preset_settings
