"""What may be read beside a registered checkpoint, and in the folder above it."""

from pathlib import Path

import pytest

from core.services import setups
from core.settings import settings

CONFIGURATION = "base_model: SECRET\ndatasets:\n  - path: s.jsonl\n    type: chat_template\n"


@pytest.fixture
def final(tmp_path, monkeypatch):
    """A numbered checkpoint with a configuration above it; no root is allowed yet."""
    folder = tmp_path / "run" / "checkpoint-5"
    folder.mkdir(parents=True)
    (folder.parent / "args.yaml").write_text(CONFIGURATION)
    monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LACUNA_CHECKPOINT_ROOTS", str(folder))
    settings.cache_clear()
    yield folder
    monkeypatch.undo()
    settings.cache_clear()


def test_the_folder_above_an_allowed_root_is_not_read(final):
    assert setups.beside(final, here=False) == (None, "")
    found, _ = setups.beside(final)
    assert found is not None and found.value("base") == "SECRET"


@pytest.mark.parametrize(("name", "above"), [("LACUNA_CHECKPOINT_ROOTS", 0), ("LACUNA_DATA_DIR", 1)])
def test_the_folder_above_is_read_inside_a_root_and_in_the_data_folder(final, monkeypatch, name, above):
    monkeypatch.setenv(name, str(final.parents[above]))
    settings.cache_clear()
    found, _ = setups.beside(final, here=False)
    assert found is not None and found.value("base") == "SECRET"


def test_a_link_does_not_lead_out(final, monkeypatch):
    root = final.parents[1] / "root"
    root.mkdir()
    Path(root / "run").symlink_to(final.parent)
    monkeypatch.setenv("LACUNA_CHECKPOINT_ROOTS", str(root))
    settings.cache_clear()
    assert setups.beside(root / "run" / "checkpoint-5", here=False) == (None, "")
