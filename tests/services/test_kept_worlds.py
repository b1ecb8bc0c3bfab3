"""What ``bench/evidence`` keeps of a world stands for the world itself, and tells nothing of the machine."""

from dataclasses import replace

import numpy as np
import pytest

from bench._worlds import KEPT, Measured, World, cases, command_of, keep, kept, kept_worlds
from bench.calibrate import fit_all
from core.causes import ordered_causes, parameters
from core.plugins import kinds
from core.services import measurements
from db import samples as sample_table
from db.session import database

MOST_BYTES = 500_000
FILES = sorted(KEPT.glob("*.npz"))


@pytest.fixture
def measured(along_run):
    """A run with its base and earlier checkpoints, whose folders lie on this machine."""
    run = along_run
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        table = measurements.with_facts(conn, run, measurements.signals_of(conn, run, hashes))
        ids = list(sample_table.order(conn, run.spec.dataset_id)["sid"])
    return Measured(run, table, measurements.facts_of(run), ids)


def planted(measured, name, generator):
    """The run as a world; its rows bear the five causes in turn."""
    causes = [cause.name for cause in ordered_causes()[:5]]
    truth = tuple(
        {"id": sid, "planted": [causes[i % 5]], "learned": False, "scored": True, "right_at": []}
        for i, sid in enumerate(measured.ids)
    )
    return World(
        name, measured.run.spec, measured.table, measured.facts, truth, generator, "lacuna lab build OUT", {"nll": 1}
    )


def test_a_kept_world_gives_the_same_fit_as_the_world_itself(measured, tmp_path):
    worlds = [planted(measured, "one", "lab"), planted(measured, "two", "inbox")]
    assert len(cases(worlds[0]).truth) >= 10, "there are samples to fit on"
    again = [kept(keep(world, tmp_path / "evidence")) for world in worlds]
    assert fit_all(again) == fit_all(worlds)
    for world, other in zip(worlds, again, strict=True):
        assert (other.truth, other.generator, other.built) == (world.truth, world.generator, world.built)
        assert other.versions == world.versions
        assert other.facts.checks == world.facts.checks and other.facts.states == world.facts.states
        for name, values in world.table.columns.items():
            np.testing.assert_array_equal(other.table.columns[name], values, name)


def test_a_kept_world_names_no_folder_of_this_machine(measured, tmp_path):
    world = planted(measured, "one", "lab")
    assert world.spec.final.path.startswith("/"), "the run itself does"
    adapter = replace(world.spec, final=replace(world.spec.final, base=world.spec.final.path))
    with np.load(keep(replace(world, spec=adapter), tmp_path)) as file:
        assert '"/' not in str(file["held"])


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_file_is_small_and_says_whose_it_is_and_how_it_was_built(path):
    assert path.stat().st_size < MOST_BYTES
    world = kept(path)
    assert world.name == path.stem
    assert world.built.startswith("lacuna lab build OUT")
    with np.load(path) as file:
        text = str(file["held"])
    for mark in ('"/', "/home/", "/root", "/tmp/", "/work"):
        assert mark not in text, mark


def test_worlds_are_read_by_name_and_those_of_older_signals_are_told(monkeypatch, capsys):
    name = FILES[0].stem
    assert [w.name for w in kept_worlds([name])] == [name]
    monkeypatch.setattr(type(kinds("signals")["answers"]), "version", 99)
    kept_worlds([name])
    assert f"{name} was measured by another version of " in (told := capsys.readouterr().err) and "answers" in told


def test_the_command_that_builds_a_world_names_what_differs_from_the_usual():
    assert command_of({"hand": "inbox", "family": "olmo2", "seed": 1, "hard": True}) == (
        "lacuna lab build OUT --hand inbox --seed 1 --hard"
    )
    assert command_of({"family": "llama", "seed": 2, "hard": False, "lora": True}) == (
        "lacuna lab build OUT --family llama --seed 2 --lora"
    )
    real = {"model": "/models/small", "seed": 4, "epochs": [2, 2], "lr": 1e-4, "lora": False, "pool": 140}
    assert command_of(real) == ('lacuna lab build OUT --real MODEL --seed 4 --epochs 2 2 --lr 0.0001  # {"pool": 140}')


def test_the_weights_that_ship_can_be_fitted_again():
    assert set(parameters()["worlds"]) <= {p.stem for p in FILES}
