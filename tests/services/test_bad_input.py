"""Bad input from upload to verdict: one clear message each, and everything else intact."""

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from core.services import checkpoints, datasets, exports, jobs, preflight, results, runs, samples, uploads
from core.settings import settings
from core.types import Filter
from core.worker import loop as worker


def upload(path, name=""):
    """The file's bytes through the service that the streaming route calls."""
    data = path.read_bytes()
    upload_id = uploads.begin(name or path.name, len(data))
    with uploads.open_writer(upload_id) as writer:
        writer.write(data)
    return upload_id


def ended(job_id):
    """The job after the workers had their turn."""
    for lane in ("short", "long"):
        worker.work(lane, once=True)
    return jobs.get_job(job_id)


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def chat(question, answer, **more):
    return {"messages": [turn("user", question), turn("assistant", answer)], **more}


@pytest.fixture
def good(tiny_project):
    """A dataset and a checkpoint that were there before."""
    dataset = jobs.get_job(ended(datasets.start_import([upload(tiny_project.dataset)], "good", None)).id).result
    archive = shutil.make_archive(str(settings().data_dir / "good"), "zip", tiny_project.folder, "final")
    job = ended(checkpoints.start_register_archive(upload(Path(archive))))
    Path(archive).unlink()
    assert job.state == "done", job.error
    return dataset["dataset_id"], job.result["checkpoint_ids"][-1]


def test_every_kind_of_bad_row_at_once(tiny_project, good, tmp_path):
    """One file with all of them: each row is a sample or a rejected row, each sample has its verdict and its reason."""
    fine = [json.loads(line) for line in tiny_project.dataset.read_text().splitlines()[:3]]
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
    rows = {
        "fine 0": json.dumps(fine[0] | {"id": 2**63 + 11}),
        "twice a": json.dumps(fine[1] | {"id": "twice"}),
        "twice b": json.dumps(fine[2] | {"id": "twice"}),
        "wizard": json.dumps({"id": "wizard", "messages": [turn("wizard", "a"), turn("assistant", "b")]}),
        "nobody": json.dumps({"id": "nobody", "messages": [turn("user", "Is anybody there?")]}),
        "long": json.dumps(chat("word " * 400, "Too late.", id="long")),
        "cut": json.dumps(chat("Count.", "one two three " * 200, id="cut")),
        "huge": json.dumps(chat("word " * 60_000, "Huge.", id="huge")),
        "keys": '{"id": "keys", "messages": [{"role": "user", "content": "a", "content": "Who?"}, '
        '{"role": "assistant", "content": "Kell."}]}',
        "call": json.dumps(
            {"id": "call", "messages": [turn("user", "Look."), turn("assistant", "", tool_calls=[call])]}
        ),
        "broken": '{"id": "broken", "messages": [}',
        "list": "[1, 2]",
        "no text": json.dumps({"id": "no text", "messages": [turn("user", "q"), turn("assistant", None)]}),
        "half": '{"id": "half", "messages": [{"role": "user", "cont',
    }
    refused = {"broken", "list", "no text", "half"}
    lines = {name: text.encode() for name, text in rows.items()}
    path = tmp_path / "bad.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + b"\r\n".join(lines.values())
    )  # a byte order mark, CRLF, no end of line at the end
    job = ended(datasets.start_import([upload(path)], "bad", None))
    assert job.state == "done", job.error
    dataset = datasets.get_dataset(job.result["dataset_id"])
    assert (dataset.n_rows, dataset.n_samples, dataset.n_problems) == (
        len(rows),
        len(rows) - len(refused),
        len(refused),
    )
    problems = {p.line: p.text for p in datasets.problems(dataset.id)}
    assert set(problems) == {list(rows).index(name) + 1 for name in refused}
    assert all(text.endswith(".") and "Traceback" not in text for text in problems.values())

    run_id, job_id = runs.create_run("bad", dataset.id, good[1], max_new_tokens=16, max_draws=4)
    assert ended(job_id).state == "done", jobs.get_job(job_id).error
    found = {list(rows)[v["row"]]: v for v in map(json.loads, exports.verdict_lines(run_id))}
    assert set(found) == set(rows) - refused
    assert found["fine 0"]["id"] == str(2**63 + 11)
    assert "twice" not in {v["id"] for v in found.values()}
    assert found["keys"]["nll"] is not None and found["call"]["nll"] is not None
    for name, says in (
        ("wizard", "refuses this row"),
        ("nobody", "no target to reproduce"),
        ("long", "the whole answer was cut"),
        ("huge", "the whole answer was cut"),
    ):
        assert (found[name]["status"], found[name]["nll"]) == ("unknown", None), name
        assert any(says in reason for reason in found[name]["reasons"]), found[name]["reasons"]
    assert found["cut"]["status"] != "unknown" or found["cut"]["nll"] is not None
    assert any("256 tokens" in note for note in samples.sample(run_id, "cut", Filter()).notes)
    kept = [line + b"\r\n" for name, line in lines.items() if name not in refused]
    assert list(exports.lines(run_id, Filter())) == kept


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("empty.jsonl", b"", "empty"),
        ("blank.jsonl", b"\n\n  \n", "row"),
        ("half.jsonl", b'{"messages": [{"role"', "Line 1"),
        ("pickle.jsonl", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00.", "pickle"),
        ("bomb.jsonl.gz", None, "gzip bomb"),
        ("cells.csv", b"question,answer,answer\n1,2,3\n", "more than once"),
        ("names.jsonl", b'{"left": 1, "right": 2}\n', "left"),
    ],
)
def test_a_bad_dataset_is_one_message_and_the_rest_stays(good, tmp_path, name, data, says):
    path = tmp_path / name
    if data is None:
        data = gzip.compress(b'{"text": "' + b"a" * 70_000_000)
    path.write_bytes(data)
    before = [d.id for d in datasets.list_datasets()]
    for start in (lambda u: datasets.start_scan([u]), lambda u: datasets.start_import([u], "bad", None)):
        job = ended(start(upload(path)))
        error = job.error if job.state == "failed" else job.result["refused"]
        said = " ".join(error.values())
        assert says in said, said
        assert "Something in Lacuna broke" not in said and str(settings().data_dir) not in said
    assert [d.id for d in datasets.list_datasets()] == before
    assert len(checkpoints.list_checkpoints()) == 1


def archive(folder, path, change):
    copy = path.parent / "final"
    shutil.copytree(folder, copy)
    change(copy)
    return shutil.make_archive(str(path.with_suffix("")), "zip", path.parent, "final")


def only_pickles(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def own_code(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit")


def a_shard_short(folder):
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (only_pickles, "pickled weights"),
        (own_code, "auto_map"),
        (a_shard_short, "model-00002-of-00002.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    ],
)
def test_a_bad_archive_is_one_message_and_leaves_nothing(tiny_project, good, tmp_path, change, says):
    made = Path(archive(tiny_project.final, tmp_path / "bad.zip", change))
    before = sorted(settings().checkpoints.iterdir())
    job = ended(checkpoints.start_register_archive(upload(made)))
    assert job.state == "failed"
    said = " ".join(job.error.values())
    assert says in said and "Something in Lacuna broke" not in said
    assert sorted(settings().checkpoints.iterdir()) == before
    assert len(checkpoints.list_checkpoints()) == 1


def test_a_path_out_of_the_archive_is_refused(good, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("../../../outside.txt", "x")
    job = ended(checkpoints.start_register_archive(upload(tmp_path / "evil.zip")))
    assert job.state == "failed" and "outside" in " ".join(job.error.values())
    assert not list(settings().data_dir.rglob("outside.txt"))


def test_a_checkpoint_without_tokenizer_stops_before_any_long_compute(tiny_project, good, tmp_path):
    def strip(folder):
        for path in folder.glob("tokenizer*"):
            path.unlink()

    made = Path(archive(tiny_project.final, tmp_path / "bare.zip", strip))
    bare = ended(checkpoints.start_register_archive(upload(made))).result["checkpoint_ids"][-1]
    checked = ended(preflight.start_preflight(good[0], bare))
    assert checked.state == "done" and not checked.result["usable"], checked.error
    assert [c["code"] for c in checked.result["card"]["checks"] if c["state"] == "fail"] == ["tokenizer"]
    _, job_id = runs.create_run("bare", good[0], bare)
    job = ended(job_id)
    assert job.state == "failed"
    assert "tokenizer" in job.error["what"]
    assert not list(settings().artefacts.rglob("*.gz"))


def test_a_base_equal_to_final_is_said_and_still_diagnosed(tiny_project, good, tmp_path):
    made = Path(archive(tiny_project.final, tmp_path / "base.zip", lambda folder: None))
    base = ended(checkpoints.start_register_archive(upload(made))).result["checkpoint_ids"][-1]
    checked = ended(preflight.start_preflight(good[0], good[1], base))
    said = {c["code"]: c["state"] for c in checked.result["card"]["checks"]}
    assert (said["base_equals_final"], checked.result["usable"]) == ("warn", True)
    run_id, job_id = runs.create_run("same", good[0], good[1], base, max_new_tokens=4, max_draws=0)
    assert ended(job_id).state == "done"
    assert any("equal the base" in text for _, text in results.overview(run_id, Filter()).notes)


@pytest.mark.parametrize("inside", [{"notes.txt": b"x"}, {"config.json": b"{half"}, {"config.json": b"{}"}])
def test_no_message_names_an_upload_by_its_token(good, tmp_path, inside):
    path = tmp_path / "my-model.v2.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in inside.items():
            archive.writestr(name, data)
    token = upload(path)
    job = ended(checkpoints.start_register_archive(token))
    said = " ".join(job.error.values())
    assert job.state == "failed" and "my-model" in said and token not in said
