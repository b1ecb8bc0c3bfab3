"""One unit of work in the job table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

JobState = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """One unit of work in the job table.

    Attributes:
        lane: ``long`` (diagnosis) or ``short`` (inspection, preview, import, export).
        kind: name of the handler; ``payload`` its JSON arguments; ``result`` its JSON outcome when done.
        stage, done, total: progress in the handler's own unit; ``unit`` names it; total 0 = not known yet.
        attempts: deaths without a new chunk in between; after three the job fails.
        owner, lease_until: who works on it and until when (epoch seconds).
        cancel: asked to stop.
        stages: (stage, epoch seconds when it began, ``done`` when it began) in the order in which they began.
        place: jobs of a lane are taken in this order; the id where None.
        death: what is known of how its worker died last.
        author: who asked for it; None where nobody has to say.
        error: what, why, what to do next, as UserError gives them; ``code`` is the short id of a bug's traceback.
    """

    id: int
    lane: Literal["long", "short"]
    kind: str
    payload: Mapping[str, Any]
    state: JobState
    stage: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    attempts: int = 0
    owner: str | None = None
    lease_until: float | None = None
    cancel: bool = False
    error: Mapping[str, str] | None = None
    result: Mapping[str, Any] | None = None
    run_id: int | None = None
    title: str = ""
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    author: str | None = None
    place: float | None = None
    stages: Sequence[Sequence[Any]] | None = None
    death: Mapping[str, Any] | None = None
