"""The page and the command that docs/adding.md shows do what it says, over a finished run."""

import pytest

from core.__main__ import main
from core.settings import settings
from tests.contract.test_docs import examples_of_the_guide


@pytest.fixture
def kinds_dir(run_data, tmp_path, monkeypatch):
    folder = tmp_path / "kinds"
    for path, text in examples_of_the_guide().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    monkeypatch.setenv("LACUNA_KINDS_DIR", str(folder))
    settings.cache_clear()
    return folder


def test_the_command_lists_the_highest_loss_first(kinds_dir, capsys):
    assert main(["hardest", "--run", "1", "--most", "5"]) == 0
    losses = [float(line.split("\t")[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 5 and losses == sorted(losses, reverse=True) and losses[0] > losses[-1] > 0


def test_the_page_shows_the_highest_loss_first(kinds_dir, open_page):
    test = open_page(kinds_dir / "pages" / "hardest.py", run=1)
    assert not test.exception and not test.error
    (table,) = test.dataframe
    losses = table.value["loss"].tolist()
    assert losses == sorted(losses, reverse=True) and len(losses) == 20
