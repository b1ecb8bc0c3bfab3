"""A model on a server, chosen on the start page: only servers that are listed, only tokenizers in allowed folders."""

import pytest

from core.errors import UserError
from core.lab import tiny
from core.services import checkpoints, datasets, jobs, preflight
from core.settings import settings
from tests.engine_server import serving
from tests.pages.reading import button, words
from tests.pages.test_start_and_jobs import uploaded


@pytest.fixture
def server(world, empty_data, monkeypatch):
    model, tokenizer = tiny.load(world.folder)
    context = model.config.max_position_embeddings
    with serving("vllm", {"tuned": model}, tokenizer=tokenizer, context=context) as engine:
        monkeypatch.setenv("LACUNA_SERVERS", engine.url)
        monkeypatch.setenv("LACUNA_CHECKPOINT_ROOTS", str(world.folder.parent))
        settings.cache_clear()
        yield engine


def test_a_model_on_a_server_is_added_and_checked(server, open_page, work, world):
    at = open_page("start")
    labels = {box.label: box for box in at.text_input}
    labels["Folder of its tokenizer"].set_value(str(world.folder))
    button(at, "Ask the server").click()
    at.run()
    assert not at.exception and "No worker is running" in words(at)
    work()
    at.run()
    (stored,) = checkpoints.list_checkpoints()
    assert stored.checkpoint.server.url == server.url and stored.checkpoint.server.flavour == "vllm"
    assert at.query_params["start.final"] == str(stored.id)
    assert "tuned on vLLM" in words(at)

    scan = datasets.start_import([uploaded(world.dataset)], "rows", None)
    work()
    at.query_params["start.dataset"] = str(jobs.get_job(scan).result["dataset_id"])
    at.run()
    assert not any(box.label == "Backend" for box in at.selectbox if "this machine" in str(box.options))
    button(at, "Check before starting").click()
    at.run()
    work()
    at.run()
    said = words(at)
    assert not at.exception and "The server answers: vLLM with tuned." in said
    assert "does not give probabilities at temperatures other than 1" in said


def test_no_other_address_and_no_other_folder(server, world, tmp_path):
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1/v1 may not be asked"):
        checkpoints.start_register_server("http://127.0.0.1:1/v1", "", str(world.folder))
    with pytest.raises(UserError, match="is not among the folders that may be chosen"):
        checkpoints.start_register_server(server.url, "", "/etc")
    assert jobs.list_jobs() == []


def test_a_checkpoint_in_a_folder_and_one_on_a_server_are_not_of_one_run(server, work, world):
    ids = [
        checkpoints.start_register_server(server.url, "", str(world.folder)),
        checkpoints.start_register_folder(str(world.folder)),
        datasets.start_import([uploaded(world.dataset)], "rows", None),
    ]
    work()
    on_server, in_folder, dataset = (jobs.get_job(i).result for i in ids)
    with pytest.raises(UserError, match=r"does not run .*, which is a folder"):
        preflight.start_preflight(
            dataset["dataset_id"], on_server["checkpoint_ids"][0], in_folder["checkpoint_ids"][0]
        )  # fmt: skip
