"""A preset of one file appears everywhere: form, command line, supervision, and the loss that exports ask for."""

import json

import pytest
import yaml

from core.__main__ import main
from core.plugins import kind
from core.services import checkpoints, mitigation, runs, specs
from core.types import Filter
from tests.contract import test_presets
from tests.contract.conftest import put
from tests.pages.reading import words
from tests.presets import families
from tests.services.conftest import Silent

TRAINER = """
    import numpy as np

    from core.plugins import with_defaults
    from core.presets._base import Preset, Row, finished, only
    from core.rendering.render import render_chat
    from core.types import Setting

    class WholeRows(Preset):
        name, label, help = "whole_rows", "Whole rows", "Loss on all of a conversation."
        settings = (Setting("answers_only", "bool", False, "Answers alone carry loss"),)

        def supervise(self, sample, tokenizer, settings, context_length=None):
            rendered = render_chat(sample.messages, tokenizer)
            row = Row.of(rendered, np.ones(len(rendered.ids), dtype=bool))
            if with_defaults(self, settings)["answers_only"]:
                row = only(row, row.target)
            return finished(row, rendered, [], context_length)

        def loss_on_prompt(self, sample, settings):
            return not with_defaults(self, settings)["answers_only"]

    KIND = WholeRows()
"""


@pytest.fixture
def whole_rows(own_kinds):
    put(own_kinds, "presets", "whole_rows", TRAINER)
    return kind("presets", "whole_rows")


def test_it_keeps_the_contract_of_presets(whole_rows):
    family = ("qwen2_5", families.tokenizer("qwen2_5"))
    test_presets.test_target_is_the_assistants_content_and_stop_token(whole_rows, family)
    test_presets.test_what_context_cuts_is_counted(whole_rows, family)
    test_presets.test_loss_on_the_prompt_is_what_supervision_shows(whole_rows, family)
    test_presets.test_settings(whole_rows)


def test_the_page_draws_its_form(whole_rows, stored, tiny_project, open_page):
    assert whole_rows.settings in [form.settings for form in specs.presets()]
    (checkpoint,) = checkpoints.register_folder(tiny_project.final, None, owned=False, work=Silent())
    at = open_page("start", **{"start.dataset": str(stored.id), "start.final": str(checkpoint.id)})
    box = next(box for box in at.selectbox if box.label == "Trainer preset")
    assert "Whole rows" in box.options
    box.set_value("whole_rows").run()
    assert not at.exception and "Loss on all of a conversation." in words(at)
    assert any(box.label == "Answers alone carry loss" for box in at.checkbox)


@pytest.mark.slow
@pytest.mark.parametrize("answers_only", [True, False])
def test_the_command_trains_by_it_and_exports_ask_for_its_loss(whole_rows, tiny_project, tmp_path, answers_only):
    dataset = tmp_path / "rows.jsonl"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in tiny_project.rows[:12]))
    arguments = ["diagnose", "--dataset", dataset, "--checkpoint", tiny_project.final, "--out", tmp_path / "verdicts"]
    arguments += ["--trainer", "whole_rows", "--trainer-setting", f"answers_only={answers_only}", "--max-draws", "1"]
    assert main([str(a) for a in [*arguments, "--max-new-tokens", "4"]]) == 0
    (run,) = runs.list_runs()
    assert (run.spec.preset, run.spec.preset_settings) == ("whole_rows", {"answers_only": answers_only})
    mitigation.export(run.id, Filter(), "pipeline_repair", {}, tmp_path / "out", {}, lambda *_: None)
    trl, axolotl, factory = (
        yaml.safe_load((tmp_path / "out" / f"{name}.yaml").read_text()) for name in ("trl", "axolotl", "llama_factory")
    )
    assert axolotl["train_on_inputs"] is factory["train_on_prompt"] is not answers_only
    assert ("assistant_only_loss" in trl) is answers_only
