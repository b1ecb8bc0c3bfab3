"""The command line: stdout carries what was asked for, the exit status says whether it went well."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import safetensors.torch

from core.__main__ import main
from core.plugins import names
from core.services import jobs, runs
from core.settings import settings

ROOT = Path(__file__).resolve().parents[2]
KEYS = [
    "id",
    "row",
    "status",
    "nll",
    "greedy_exact",
    "p_exact",
    "cause",
    "confidence",
    "proof",
    "causes",
    "reasons",
    "human_status",
    "human_cause",
    "tags",
    "note",
    "author",
]
CAUSES = {"missing_knowledge", "base_conflict", "data_inconsistency", "left_side_forgetting", "under_optimised"}


@pytest.fixture
def command(capsysbinary):
    """Runs a command in this process: (exit status, stdout, stderr as text)."""

    def run(*arguments):
        status = main([str(a) for a in arguments])
        out, err = capsysbinary.readouterr()
        return status, out, err.decode()

    return run


@pytest.fixture
def rows(tiny_project, tmp_path):
    """Twelve rows of the project, so that a diagnosis takes a second."""
    path = tmp_path / "twelve.jsonl"
    path.write_bytes(b"".join(tiny_project.dataset.read_bytes().splitlines(keepends=True)[::5][:12]))
    return path


def no_constants(name):
    raise AssertionError(f"{name} is no JSON")


def verdicts(data):
    return [json.loads(line, parse_constant=no_constants) for line in data.splitlines()]


@pytest.mark.slow
def test_diagnose_writes_one_object_a_row_and_nothing_else(command, tiny_project, rows, tmp_path):
    asked = ("diagnose", "--dataset", rows, "--checkpoint", tiny_project.final, "--base", tiny_project.base,
             "--trajectory", tiny_project.folder, "--max-new-tokens", 32)  # fmt: skip
    status, out, err = command(*asked)
    assert status == 0
    found = verdicts(out)
    assert [v["row"] for v in found] == list(range(12))
    assert [v["id"] for v in found] == [json.loads(line)["id"] for line in rows.read_bytes().splitlines()]
    for verdict in found:
        assert list(verdict) == KEYS
        assert verdict["status"] in ("learned", "partly", "unlearned", "unknown")
        assert set(verdict["causes"]) >= CAUSES
    assert "likelihood" in err and "run 1:" in err
    steps = re.findall(r"^(\d+) of (\d+) · ", err, re.MULTILINE)
    assert [int(a) for a, _ in steps] == list(range(1, int(steps[0][1]) + 1)) and len({b for _, b in steps}) == 1
    status, out, _ = command(*asked, "--out", tmp_path / "deep" / "verdicts.jsonl")
    assert (status, out) == (0, b"")
    assert verdicts((tmp_path / "deep" / "verdicts.jsonl").read_bytes()) == found
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["verdicts.jsonl"]
    assert len(runs.get_run(1).spec.trajectory) == len(tiny_project.checkpoints)


def test_a_trainer_setting_is_read_as_its_kind(command, tiny_project, rows):
    asked = ("diagnose", "--dataset", rows, "--checkpoint", tiny_project.final, "--trainer-setting")
    status, out, _ = command(*asked, "max_length=4", "--max-new-tokens", 2)
    assert status == 0 and len(verdicts(out)) == 12
    assert runs.get_run(1).spec.preset_settings["max_length"] == 4
    status, _, err = command(*asked, "max_length=four")
    assert status == 2 and "a whole number" in err


@pytest.mark.slow
def test_the_same_command_in_a_fresh_installation_gives_the_same_bytes(command, tiny_project, rows, tmp_path):
    files = []
    for name in ("one", "two"):
        os.environ["LACUNA_DATA_DIR"] = str(tmp_path / name)
        settings.cache_clear()
        assert command("diagnose", "--dataset", rows, "--checkpoint", tiny_project.final, "--max-new-tokens", 32,
                       "--out", tmp_path / f"{name}.jsonl")[0] == 0  # fmt: skip
        files.append((tmp_path / f"{name}.jsonl").read_bytes())
    assert files[0] == files[1]


@pytest.mark.slow
def test_an_adapter_is_diagnosed_on_its_base(command, tiny_project, rows):
    status, out, _ = command("diagnose", "--dataset", rows, "--checkpoint", tiny_project.adapter, "--base",
                             tiny_project.base, "--max-new-tokens", 32)  # fmt: skip
    assert status == 0
    of_adapter = verdicts(out)
    # The adapter's own configuration names its base.
    status, out, _ = command(
        "diagnose", "--dataset", rows, "--checkpoint", tiny_project.adapter, "--max-new-tokens", 32
    )
    assert status == 0
    assert [v["nll"] for v in verdicts(out)] == [v["nll"] for v in of_adapter]
    status, _, err = command("diagnose", "--dataset", rows, "--checkpoint", tiny_project.adapter, "--no-config")
    assert status == 2
    assert "adapter and needs its base model" in err
    status, out, _ = command("diagnose", "--dataset", rows, "--checkpoint", tiny_project.base, "--max-new-tokens", 32)
    assert status == 0
    assert [v["nll"] for v in verdicts(out)] != [v["nll"] for v in of_adapter]


def test_export_gives_the_lines_and_a_manifest(command, tiny_project, rows, tmp_path):
    command("diagnose", "--dataset", rows, "--checkpoint", tiny_project.final, "--max-new-tokens", 32)
    out = tmp_path / "subset.jsonl"
    status, printed, err = command("export", "--run", 1, "--filter", "status=learned&sort=-nll", "--out", out)
    assert (status, printed) == (0, b"")
    manifest = json.loads((tmp_path / "subset.manifest.json").read_text())
    lines = out.read_bytes().splitlines(keepends=True)
    assert lines and set(lines) < set(rows.read_bytes().splitlines(keepends=True))
    assert len(lines) == manifest["exported"]["rows"]
    assert f"{len(lines)} rows to" in err
    assert command("export", "--run", 1, "--out", out)[0] == 0
    assert out.read_bytes() == rows.read_bytes()
    for wrong, says in (((7, ""), "no run 7"), ((1, "statu=x"), "Did you mean 'status'")):
        status, _, err = command("export", "--run", wrong[0], "--filter", wrong[1], "--out", tmp_path / "no.jsonl")
        assert status == 2
        assert says in err
    assert not (tmp_path / "no.jsonl").exists()
    assert command("runs")[1].startswith(b"1\tjudged\ttwelve")


# ------------------------------------------------------------------------------------------------------ commands


def test_help_lists_every_command_and_loads_nothing_heavy():
    code = (
        "import sys; from core.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(sorted(set(sys.modules) & {'numpy', 'sqlalchemy', 'streamlit', 'torch', 'transformers'}))"
    )
    for words in (["--help"], ["diagnose", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage: lacuna ") and done.stdout.endswith("[]\n")
        listed = names("commands") if words == ["--help"] else [*names("presets"), *names("formats"), *names("scorers")]
        assert [name for name in listed if name not in done.stdout] == []


def test_a_file_in_the_users_folder_is_a_command(command, tmp_path, monkeypatch, capsysbinary):
    folder = tmp_path / "kinds" / "commands"
    folder.mkdir(parents=True)
    (folder / "count.py").write_text(
        "class Count:\n"
        "    name, label = 'count', 'count the letters of a word'\n"
        "    def arguments(self, parser):\n"
        "        parser.add_argument('word')\n"
        "    def run(self, args):\n"
        "        print(len(args.word))\n"
        "        return 0\n"
        "KIND = Count()\n"
    )
    monkeypatch.setenv("LACUNA_KINDS_DIR", str(tmp_path / "kinds"))
    settings.cache_clear()
    assert command("count", "lacuna") == (0, b"6\n", "")
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0 and b"count the letters of a word" in capsysbinary.readouterr().out


@pytest.mark.parametrize(
    ("option", "register"), [("--trainer", "presets"), ("--format", "formats"), ("--scorer", "scorers")]
)
def test_an_unknown_kind_is_refused_before_anything_is_read(command, rows, option, register):
    status, out, err = command("diagnose", "--dataset", rows, "--checkpoint", rows.parent, option, "nothing_such")
    assert (status, out) == (2, b"")
    assert "named 'nothing_such'" in err and ", ".join(names(register)) in err


# ------------------------------------------------------------------------------------------------------- inspect


def test_inspect_reads_every_row_of_a_dataset(command, tmp_path):
    path = tmp_path / "rows.jsonl"
    good = '{"messages": [{"role": "user", "content": "%d"}, {"role": "assistant", "content": "x"}]}\n'
    path.write_text("".join(good % (i % 400) for i in range(401)) + '{"messages": []}\n{"messages": [{"role": "us')
    status, out, _ = command("inspect", path)
    assert status == 0
    found = json.loads(out)
    assert (found["kind"], found["reading"]["format"], found["reading"]["container"]) == (
        "dataset",
        "messages",
        "jsonl",
    )
    assert (found["n_rows"], found["n_samples"], found["n_rejected"], found["n_duplicates"]) == (403, 401, 2, 1)
    assert [p["line"] for p in found["problems"]] == [402, 403]


def test_inspect_says_what_a_checkpoint_is(command, tiny_project, tmp_path):
    status, out, _ = command("inspect", tiny_project.final)
    found = json.loads(out)
    assert (status, found["kind"]) == (0, "checkpoint")
    (model,) = found["checkpoints"]
    assert (model["kind"], model["model_type"]) == ("full", "llama")
    assert "weights_finite" in {c["code"] for c in model["checks"] if c["state"] == "pass"}
    assert json.loads(command("inspect", tiny_project.adapter)[1])["checkpoints"][0]["adapter"]["r"] == 8
    trajectory = json.loads(command("inspect", tiny_project.folder)[1])
    assert trajectory["kind"] == "trajectory"
    assert [c["step"] for c in trajectory["checkpoints"]] == sorted(c["step"] for c in trajectory["checkpoints"])
    archive = shutil.make_archive(str(tmp_path / "model"), "gztar", tiny_project.folder, "final")
    found = json.loads(command("inspect", archive)[1])
    assert found["archive"] == "model.tar.gz"
    assert found["checkpoints"][0]["n_parameters"] == model["n_parameters"]
    assert not [p for p in settings().data_dir.rglob("*") if p.is_file() and "safetensors" in p.name]


def test_inspect_looks_at_an_adapter_whose_base_is_elsewhere(command, tiny_project, tmp_path):
    folder = shutil.copytree(tiny_project.adapter, tmp_path / "adapter")
    configuration = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(configuration | {"base_model_name_or_path": "some/model"}))
    (adapter,) = json.loads(command("inspect", folder)[1])["checkpoints"]
    states = {check["code"]: check["state"] for check in adapter["checks"]}
    assert states == {"adapter_keys": "unknown", "adapter_not_applied": "pass"}
    safetensors.torch.save_file({}, folder / "adapter_model.safetensors")
    status, _, err = command("inspect", folder)
    assert status == 2 and "holds no values" in err and "0 tensors. Save again" in err


def test_a_configuration_in_a_folder_below_is_named(command, tmp_path):
    below = tmp_path / "examples" / "train_lora"
    below.mkdir(parents=True)
    (below / "sft.yaml").write_text("stage: sft\nfinetuning_type: lora\nmodel_name_or_path: base\ndataset: one\n")
    (below / "sealed").mkdir(mode=0)
    status, _, err = command("diagnose", "--config", tmp_path)
    assert status == 2 and "examples/train_lora/sft.yaml" in err


def no_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def half_the_weights(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 999}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (no_tokenizer, "tokenizer"),
        (pickled, "pickled weights"),
        (half_the_weights, "model.safetensors"),
        (another_shape, "another shape"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
    ],
)
def test_inspect_ends_with_2_and_one_line_for_an_unusable_checkpoint(command, tiny_project, tmp_path, damage, says):
    folder = tmp_path / "model"
    shutil.copytree(tiny_project.final, folder)
    damage(folder)
    status, out, err = command("inspect", folder)
    assert (status, out) == (2, b"")
    assert err.startswith("lacuna: ") and err.count("\n") == 1
    assert says in err


PICTURE = '{"messages": [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "x"}]}\n'


def evil_tar(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("../../outside"))


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("empty.jsonl", lambda p: p.write_bytes(b""), "empty"),
        ("words.jsonl", lambda p: p.write_text("just words\n" * 3), "just words"),
        ("numbers.csv", lambda p: p.write_text("a,b\n1,2\n"), "a, b"),
        ("refused.jsonl", lambda p: p.write_text(PICTURE * 3), "None of the 3 rows"),
        ("evil.tar", evil_tar, "outside"),
        ("gone.jsonl", lambda p: None, "does not exist"),
    ],
)
def test_inspect_ends_with_2_and_one_line_for_an_unusable_file(command, tmp_path, name, make, says):
    make(tmp_path / name)
    status, out, err = command("inspect", tmp_path / name)
    assert (status, out) == (2, b"")
    assert err.startswith("lacuna: ") and err.count("\n") == 1
    assert says in err


# ------------------------------------------------------------------------------------------------------ stopping

# Sends itself Ctrl-C once the second chunk of ten rows was stored.
STOPPED = """
import os, signal, sys
import core.signals.likelihood as likelihood
from core.__main__ import main
from core.services.jobs import JobContext

likelihood.chunked = lambda samples, *rest: (list(samples[i : i + 10]) for i in range(0, len(samples), 10))
stored, original = [0], JobContext.progress
def progress(self, stage, done=0, total=0, unit="", store=None):
    original(self, stage, done, total, unit, store)
    stored[0] += store is not None
    if stored[0] == 2 and store is not None:
        os.kill(os.getpid(), signal.SIGINT)
JobContext.progress = progress
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_keeps_what_was_measured(command, tiny_project, tmp_path):
    asked = ["diagnose", "--dataset", str(tiny_project.dataset), "--checkpoint", str(tiny_project.final)]
    asked += ["--max-new-tokens", "32", "--out", str(tmp_path / "verdicts.jsonl")]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, *asked], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert "what was measured is kept" in done.stderr
    assert not (tmp_path / "verdicts.jsonl").exists()
    (job,) = jobs.list_jobs()
    # Two chunks, and at most the one that was under way.
    assert job.state == "queued" and job.done in (20, 30)
    assert command(*asked)[0] == 0
    assert len(verdicts((tmp_path / "verdicts.jsonl").read_bytes())) == len(tiny_project.rows)
