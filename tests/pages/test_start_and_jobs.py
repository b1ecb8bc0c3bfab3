"""A new run in three steps, and the jobs behind it."""

import json
import sqlite3

from core.filters import from_query
from core.services import checkpoints, datasets, demo, jobs, queue, runs, samples, setups, uploads
from db import jobs as table
from db import session
from db.session import database
from tests.pages.reading import button, words
from ui import choose_training


def uploaded(path):
    """As the widget leaves it: a finished upload."""
    token = uploads.begin(path.name, path.stat().st_size)
    with uploads.open_writer(token) as writer:
        writer.write(path.read_bytes())
    return token


def test_a_check_without_a_model_counts_samples_alone():
    counts = {"samples": 20, "looked_at": 0, "target_tokens": 0, "refused": 0, "truncated": 0}
    assert choose_training.counted_rows(counts) == "20 samples"
    counts |= {"looked_at": 5, "target_tokens": 400, "truncated": 2}
    assert choose_training.counted_rows(counts) == (
        "20 samples · 400 target tokens · 0 refused by the template · 2 cut (among 5 rows examined)"
    )


def test_a_first_visit_names_every_next_step(empty_data, open_page):
    at = open_page("start")
    assert not at.exception and not at.error
    assert [s.value for s in at.subheader] == ["New diagnosis", "1  Dataset", "2  Checkpoint", "3  How it was trained"]
    said = words(at)
    assert "Choose a dataset and a checkpoint first" in said and "judge the dataset alone" in said
    assert "LACUNA_CHECKPOINT_ROOTS" in said
    assert button(at, "Open the demo")
    # A link to copy, a bundle, a configuration, a dataset, a checkpoint, answers.
    assert len(at.get("bidi_component")) == 6


def test_the_demo_is_made_here_where_somebody_wants_that(empty_data, open_page):
    at = open_page("start")
    button(at, "Download the model (93 MB) and make this yourself").click()
    at.run()
    (job,) = jobs.list_jobs()
    assert (job.kind, job.lane, demo.start_making()) == ("make_demo", "long", job.id)
    assert not at.exception and "The demo is made here" in words(at)
    jobs.cancel_job(job.id)
    at.run()
    button(at, "Go on from there").click()
    at.run()
    assert [j.state for j in jobs.list_jobs()] == ["queued", "cancelled"]


def test_from_scan_to_a_started_run(empty_data, open_page, work, world):
    at = open_page("start", **{"start.scan": str(datasets.start_scan([uploaded(world.dataset)]))})
    assert "No worker is running" in words(at)
    work()
    at.run()
    assert not at.exception and "Messages" in words(at) and "What is on flag 0?" in words(at)
    at.text_input[0].set_value("my rows")
    at.run()
    button(at, "Import").click()
    at.run()
    work()
    at.run()
    dataset = datasets.list_datasets()[0]
    assert (dataset.name, dataset.n_samples) == ("my rows", 60)
    assert at.query_params == {"start.dataset": str(dataset.id)}
    assert "60 rows = 60 samples + 0 rejected" in words(at)

    at.query_params["start.register"] = str(checkpoints.start_register_archive(uploaded(world.archive)))
    at.run()
    work()
    at.run()
    stored = checkpoints.list_checkpoints()
    assert at.query_params["start.final"] == str(stored[0].id)
    assert "LlamaForCausalLM" in words(at)

    button(at, "Check before starting").click()
    at.run()
    work()
    at.run()
    assert not at.exception
    said = words(at)
    assert "60 samples" in said and "✓ pass" in said and "? unknown" in said
    assert "target, trained on" in said and "im_start" in said
    button(at, "Start the diagnosis").click()
    at.run()
    run = runs.list_runs()[0]
    assert run.name == "my rows × model" and at.query_params == {"run": str(run.id)}
    assert at.title[0].value == r"my rows × model"
    assert jobs.active_for_run(run.id).state == "queued"


def test_a_check_is_only_for_what_was_asked(empty_data, open_page, work, world):
    scan = datasets.start_import([uploaded(world.dataset)], "rows", None)
    register = checkpoints.start_register_archive(uploaded(world.archive))
    work()
    ids = {
        "start.dataset": jobs.get_job(scan).result["dataset_id"],
        "start.final": jobs.get_job(register).result["checkpoint_ids"][0],
    }
    at = open_page("start", **{k: str(v) for k, v in ids.items()})
    button(at, "Check before starting").click()
    at.run()
    work()
    at.run()
    assert button(at, "Start the diagnosis")
    next(n for n in at.number_input if n.label == "Seed").set_value(7)
    at.run()
    assert "Something changed since the last check" in words(at)
    assert not [b for b in at.button if b.label == "Start the diagnosis"]


def test_a_trainers_configuration_fills_in_the_steps(empty_data, open_page, work, world, tmp_path):
    config = tmp_path / "sft<b>.yaml"
    config.write_text(
        f"dataset_name: /home/me/{world.dataset.name}\nmodel_name_or_path: /srv/{world.folder.name}\nmax_length: 77\n"
        "assistant_only_loss: false\nlearning_rate: 1e-4\nmax_steps: 9\noutput_dir: out\n"
    )
    job = setups.start_setup([uploaded(config)])
    work()
    setup = setups.standing(job)
    files = [{"id": uploaded(world.dataset), "name": world.dataset.name}]
    scan = datasets.start_scan([files[0]["id"]], None, setup.named("column"))
    register = checkpoints.start_register_archive(uploaded(world.archive))
    work()
    stored = datasets.start_import([files[0]["id"]], "rows", None)
    work()
    assert jobs.get_job(scan).state == "done" and not list((empty_data / "uploads").iterdir())
    ids = {"dataset": jobs.get_job(stored).result["dataset_id"],
           "final": jobs.get_job(register).result["checkpoint_ids"][0], "setup": job}  # fmt: skip
    at = open_page("start", **{f"start.{k}": str(v) for k, v in ids.items()})
    said = words(at)
    assert not at.exception and "Filled in from sft" in said
    table = next(d.value for d in at.dataframe if "from" in d.value.columns)
    assert dict(zip(table["what"], table["from"], strict=True))["setting max_length"] == "sft<b>.yaml: max_length"
    assert "Training ended after so many steps" in "".join(w.value for w in at.warning)
    assert next(s for s in at.selectbox if s.label == "Trainer preset").value == "trl"
    longest = next(n for n in at.number_input if n.label == "max_length")
    assert longest.value == 77
    longest.set_value(88)
    at.run()
    button(at, "Check before starting").click()
    at.run()
    work()
    at.run()
    button(at, "Start the diagnosis").click()
    at.run()
    run = runs.list_runs()[0]
    assert (run.spec.preset, run.spec.preset_settings["max_length"]) == ("trl", 88)
    assert list(run.summary["setup"]["files"]) == ["sft<b>.yaml"]


def test_a_pickle_in_place_of_a_configuration_says_what_to_give(empty_data, open_page, work, tmp_path):
    (tmp_path / "training_args.bin").write_bytes(b"\x80\x04")
    at = open_page("start", **{"start.setup": str(setups.start_setup([uploaded(tmp_path / "training_args.bin")]))})
    work()
    at.run()
    assert not at.exception and "is never opened" in at.error[0].value
    button(at, "Dismiss").click()
    at.run()
    assert at.query_params == {} and not list((empty_data / "uploads").iterdir())


def test_what_lies_beside_a_registered_checkpoint_is_taken(empty_data, open_page, work, world, tmp_path, monkeypatch):
    import shutil

    from core.settings import settings

    monkeypatch.setenv("LACUNA_CHECKPOINT_ROOTS", str(tmp_path))
    settings.cache_clear()
    shutil.copytree(world.folder, tmp_path / "model")
    (tmp_path / "secret.jsonl").write_text("{}")
    args = {"model": "base", "model_type": "llama", "train_type": "full", "dataset": ["../secret.jsonl"]}
    (tmp_path / "model" / "args.json").write_text(json.dumps(args))
    register = checkpoints.start_register_folder(str(tmp_path / "model"))
    work()
    at = open_page("start", **{"start.register": str(register)})
    at.run()
    work()
    at.run()
    assert "Filled in from args" in words(at) and "names the base base" in words(at)
    setup = setups.standing(int(at.query_params["start.setup"]))
    assert setup.of("dataset") and not any(stated.path for stated in setup.stated)


def test_changing_the_reading_by_hand(empty_data, open_page, work, tmp_path):
    path = tmp_path / "odd.jsonl"
    path.write_text('{"frage": "Wer?", "antwort": "Ich <b>", "q": 1}\n' * 3 + "{broken\n")
    at = open_page("start", **{"start.scan": str(datasets.start_scan([uploaded(path)]))})
    work()
    at.run()
    assert not at.exception
    assert "No known format fits odd.jsonl" in words(at) and "Still to choose" in words(at)
    assert button(at, "Read again").disabled
    at.selectbox(key="w:reading:role:prompt").set_value("frage")
    at.selectbox(key="w:reading:role:completion").set_value("antwort")
    at.run()
    button(at, "Read again").click()
    at.run()
    work()
    at.run()
    assert not at.exception
    assert "Wer?" in words(at) and "Ich &lt;b&gt;" in words(at)
    assert "Detected Prompt" in words(at).replace("*", "")
    rejected = next(d.value for d in at.dataframe if "reason" in d.value.columns)
    assert rejected["line"].tolist() == [4]


def test_a_folder_of_the_server_can_be_chosen(empty_data, open_page, work, world, monkeypatch):
    monkeypatch.setenv("LACUNA_CHECKPOINT_ROOTS", str(world.folder.parent))
    from core.settings import settings

    settings.cache_clear()
    at = open_page("start")
    button(at, str(world.folder.parent)).click()
    at.run()
    at.button(key="w:use:0").click()
    at.run()
    work()
    at.run()
    assert [c.checkpoint.path for c in checkpoints.list_checkpoints()] == [str(world.folder)]
    work()  # a configuration beside it is looked for
    at.run()
    assert not at.exception and not at.error


def test_a_job_that_failed_says_why_and_what_to_do(empty_data, open_page, work, tmp_path):
    path = tmp_path / "not_a_model.zip"
    path.write_bytes(b"PK nothing")
    job = checkpoints.start_register_archive(uploaded(path))
    work()
    at = open_page("start", **{"start.register": str(job)})
    assert at.error and not at.exception
    button(at, "Dismiss").click()
    at.run()
    assert at.query_params == {} and not list((empty_data / "uploads").iterdir())
    at = open_page("jobs")
    assert at.error and button(at, "Try again")
    assert "No worker is running for the" in words(at)


def test_jobs_can_be_cancelled_and_resumed(run_data, open_page):
    job = jobs.enqueue("rejudge", {"run": 1, "thresholds": {}}, title="Judge *x* <b>", run_id=1)
    at = open_page("jobs")
    assert "Judge *x* <b>" in words(at)
    button(at, "Cancel").click()
    at.run()
    assert jobs.get_job(job).state == "cancelled"
    button(at, "Resume").click()
    at.run()
    assert jobs.get_job(job).state == "queued"
    assert at.get("page_link")


def test_the_queue_can_be_read_and_changed(empty_data, open_page):
    """What runs stands first, whoever came later; a job that waits says behind what, and can be moved up."""
    first, second = (jobs.enqueue("scan", {}, title=name) for name in ("first look", "second look"))
    running = jobs.enqueue("diagnose", {"run": 1}, lane="long", title="a run")
    with database().writing() as conn:
        table.claim(conn, "long", "long-1-x", 60.0)
    at = open_page("jobs")
    said = words(at)
    assert said.index("a run") < said.index("first look") < said.index("second look")
    bars = [p.proto.text.replace("\\", "") for p in at.get("progress")]
    assert "behind “first look”" in bars[2] and "number 2 in the queue" in bars[2]
    button(at, "Move up").click()
    at.run()
    assert [j.id for j in queue.active()] == [running, second, first]


def test_a_finished_job_leads_to_what_it_made(empty_data, open_page, work, world):
    datasets.start_import([uploaded(world.dataset)], "rows", None)
    checkpoints.start_register_archive(uploaded(world.archive))
    work()
    at = open_page("jobs")
    links = [link.proto for link in at.get("page_link")]
    for label, parameter in (("Dataset", "start.dataset=1"), ("Checkpoint", "start.final=1")):
        (link,) = (found for found in links if found.label == label)
        assert link.query_string == parameter


def test_a_locked_database_is_a_state_and_no_bug(empty_data, open_page, monkeypatch):
    monkeypatch.setattr(session, "BUSY_SECONDS", 0.05)
    job = jobs.enqueue("scan", {})
    at = open_page("jobs")
    holder = sqlite3.connect(database().engine.url.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    button(at, "Cancel").click()
    at.run()
    said = words(at)
    assert "the database is locked by another process" in said and "bug" not in said
    holder.close()
    at.run()
    assert jobs.get_job(job).state == "queued" and not at.error


def test_no_jobs_says_so(empty_data, open_page):
    at = open_page("jobs")
    assert "No job is running or waiting" in words(at) and "No job has ended yet" in words(at)


def test_an_odd_address_breaks_nothing(empty_data, open_page):
    for query in (
        {"start.dataset": "99"},
        {"start.scan": "99"},
        {"start.final": "99"},
        {"start.dataset": "x"},
        {"q": "1"},
    ):
        assert not open_page("start", **query).exception


def test_the_start_shows_a_real_verdict_and_chooses_the_only_run(run_data, open_page):
    at = open_page("start")
    assert not at.exception and not at.error
    said = words(at)
    assert "One verdict of 60 samples" in said and "not learned ·" in said
    query = "status=unlearned,partly&cause!=~,undetermined&sort=-confidence"
    surest = samples.page(1, from_query(query, runs.get_run(1).columns)).rows[0]
    assert surest["prompt"] in said
    at = open_page("overview")
    assert at.title[0].value == runs.get_run(1).name


def test_a_dataset_alone_is_diagnosed_from_the_start_page(empty_data, open_page, work, world):
    scan = datasets.start_import([uploaded(world.dataset)], "rows", None)
    work()
    dataset = jobs.get_job(scan).result["dataset_id"]
    at = open_page("start", **{"start.dataset": str(dataset)})
    box = next(s for s in at.selectbox if s.label == "Checkpoint to diagnose")
    box.select(checkpoints.NOTHING)
    at.run()
    assert not at.exception and at.query_params["start.final"] == "0"
    button(at, "Check before starting").click()
    at.run()
    work()
    at.run()
    assert not at.exception and "only the dataset is judged" in words(at)
    button(at, "Start the diagnosis").click()
    at.run()
    run = runs.list_runs()[0]
    assert run.name == "rows × no model" and run.spec.final.gives == ()


def test_a_file_of_answers_stands_for_a_checkpoint(empty_data, open_page, work, world, tmp_path):
    scan = datasets.start_import([uploaded(world.dataset)], "rows", None)
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"row": 0, "output": "red", "step": 5}\n{"row": 0, "output": "blue", "step": 9}\n')
    register = checkpoints.start_register_outputs(uploaded(answers))
    work()
    work()
    dataset = jobs.get_job(scan).result["dataset_id"]
    at = open_page("start", **{"start.dataset": str(dataset), "start.register": str(register)})
    early, late = sorted(checkpoints.list_checkpoints(), key=lambda c: c.checkpoint.step)
    assert at.query_params["start.final"] == str(late.id) and late.checkpoint.gives == ("outputs", "verbatim")
    assert not at.exception and {c.name for c in (early, late)} == {"answers.jsonl · 5", "answers.jsonl · 9"}
    assert not uploads_left()
    run_id, _ = runs.create_run("", dataset, late.id, None, [early.id])
    assert [c.label for c in runs.get_run(run_id).spec.checkpoints.values()] == ["5", "9"]
    runs_of_it = [run for run in runs.list_runs() if late.checkpoint.files[0] in checkpoints.paths_of(run.spec)]
    assert len(runs_of_it) == 1


def uploads_left():
    from db import uploads as upload_table

    with database().reading() as conn:
        return upload_table.list_uploads(conn)
