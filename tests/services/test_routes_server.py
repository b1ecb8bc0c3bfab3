"""Both routes of a model that a server holds: answers and tokens come from there, what it lacks is left out."""

import math

import pytest

from core.egrm.settings import RouteSettings
from core.services.routes import board as route_board
from core.services.routes import runs as routes
from core.types import Filter
from core.worker.here import run_here
from tests.services.test_server_runs import diagnosed, engine, few, models  # noqa: F401


@pytest.mark.slow
def test_a_server_answers_both_routes(few, engine, tiny_project):  # noqa: F811
    server = engine("plain")
    source = ["--backend", "openai_server", "--server", server.url, "--server-model", "tuned"]
    run, _ = diagnosed(few, *source, "--tokenizer", tiny_project.final)
    settings = RouteSettings(m=2, k=2, direct_tokens=8, path_tokens=8, backend=run.spec.backend)
    route_id, job = routes.start_for_run(run.id, Filter(), settings, limit=3)
    run_here(job)
    found = routes.get(route_id)
    board = route_board.board(route_id, route_board.choice(found, {}))
    assert found.done == 3 and board.n == 3
    egrm = next(p for p in board.policies if p.name == "egrm")
    assert egrm.tokens > 0 and not math.isnan(egrm.tokens)
    assert [r.name for r in board.routers.routers][:3] == ["consensus", "entropy", "words"]
    assert "Mean margin of the answers" in board.routers.missing
