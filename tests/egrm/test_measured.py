"""The figures that the routes page shows follow from the answers that were kept."""

import json

from bench.routes import HERE, figures
from core.services.routes.measured import measured


def test_shipped_figures_follow_from_the_kept_answers():
    found = measured()
    assert json.loads(json.dumps(figures(HERE / "routes_answers.jsonl.gz"))) == found["figures"]
    assert found == json.loads((HERE / "routes.json").read_text())
