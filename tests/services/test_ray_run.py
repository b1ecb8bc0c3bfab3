"""A whole diagnosis on two workers: every verdict and number of the one process."""

import json

import pytest

from core.backends import _ray_pool
from core.settings import settings


@pytest.mark.slow
def test_a_diagnosis_on_two_workers_is_that_of_one_process(diagnose, import_rows, tiny_project, monkeypatch):
    pytest.importorskip("ray")
    from core.services import exports

    monkeypatch.setenv("LACUNA_RAY", "2")
    settings.cache_clear()
    withheld = [row for row in tiny_project.rows if tiny_project.groups.get(row["id"]) == "withheld"]
    dataset = import_rows([*tiny_project.rows[::12], *withheld], "few.jsonl")
    lines = []
    try:
        for backend in ("hf", "ray"):
            run = diagnose(
                dataset, tiny_project.final, tiny_project.base, backend=backend, max_new_tokens=24, max_draws=10,
                scorer="exact",
            )  # fmt: skip
            lines.append([json.loads(line) for line in exports.verdict_lines(run.id)])
            assert run.gaps == ()
    finally:
        _ray_pool.close_pools()
        settings.cache_clear()
    for alone, spread in zip(*lines, strict=True):
        assert alone.keys() == spread.keys() and alone["status"] == spread["status"]
        for name in ("cause", "greedy_exact", "reasons"):
            assert alone[name] == spread[name], (alone["id"], name)
        for name in ("nll", "p_exact"):
            assert spread[name] == pytest.approx(alone[name], abs=1e-4)
