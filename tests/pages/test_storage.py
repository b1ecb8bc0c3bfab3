"""The page that says what takes the disk."""

from core.services import runs
from tests.pages.reading import words


def test_what_depends_is_named_before_anything_is_deleted(run_data, open_page):
    at = open_page("storage")
    assert not at.exception
    said = words(at)
    assert "taken" in said and "run 1" in said and "7 days unused" not in said
    dataset = next(b for b in at.button if b.label == "Delete it and 1 run")
    dataset.click()
    at.run()
    assert not at.exception and not runs.list_runs()
    assert "There are none." in words(at)


def test_an_empty_installation(empty_data, open_page):
    at = open_page("storage")
    assert not at.exception and words(at).count("There are none.") == 4
    assert not [b for b in at.button if b.label.startswith("Delete")]
