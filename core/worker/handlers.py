"""Which function runs a kind of job. A new kind of job is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.errors import unknown_name
from core.services import (
    bundles,
    checkpoints,
    clusters,
    datasets,
    demo,
    diagnosis,
    judging,
    mitigation,
    preflight,
    proofs,
    setups,
)
from core.services.jobs import Work
from core.services.routes import scorers as route_scorers
from core.services.routes import work as route_work

Handler = Callable[[Work, Mapping[str, Any]], Mapping[str, Any] | None]

HANDLERS: dict[str, Handler] = {
    "scan": datasets.handle_scan,
    "import": datasets.handle_import,
    "setup": setups.handle_setup,
    "register": checkpoints.handle_register,
    "preflight": preflight.handle_preflight,
    "diagnose": diagnosis.handle_diagnose,
    "rejudge": judging.handle_rejudge,
    "cluster": clusters.handle_cluster,
    "demo": demo.handle_demo,
    "make_demo": demo.handle_make,
    "preview_mitigation": mitigation.handle_preview,
    "mitigate": mitigation.handle_mitigate,
    "open_bundle": bundles.handle_open,
    "write_bundle": bundles.handle_write,
    "prove": proofs.handle_prove,
    "routes": route_work.handle_routes,
    "scorer": route_scorers.handle_scorer,
    "route_scores": route_scorers.handle_scores,
}


def handler(kind: str) -> Handler:
    """The function for a kind of job; raises UserError for one this version does not know."""
    if kind not in HANDLERS:
        raise unknown_name("kind of job", kind, HANDLERS)
    return HANDLERS[kind]
