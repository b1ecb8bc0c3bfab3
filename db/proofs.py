"""Proofs: what a recipe did in a small training run, arm by arm."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from core.errors import UserError
from core.types import Proof
from db.models import proofs
from db.statements import insert_row


def add(
    conn: Connection,
    run_id: int,
    recipe: str,
    cause: str | None,
    request: Mapping[str, Any],
    clock: Callable[[], float] = time.time,
) -> int:
    """A new proof without arms; returns its id."""
    values = {"run_id": run_id, "recipe": recipe, "cause": cause, "request": dict(request), "arms": {}}
    return insert_row(conn, proofs, {**values, "created": clock()})


def get(conn: Connection, proof_id: int) -> Proof:
    """Raises UserError where there is no proof of that id."""
    row = conn.execute(select(proofs).where(proofs.c.id == proof_id)).one_or_none()
    if row is None:
        raise UserError(f"There is no proof {proof_id}.", "It was deleted, with its run or alone.", "Start a new one.")
    return _proof(row)


def list_proofs(conn: Connection, run_id: int) -> list[Proof]:
    """The run's proofs, newest first."""
    return [
        _proof(r) for r in conn.execute(select(proofs).where(proofs.c.run_id == run_id).order_by(proofs.c.id.desc()))
    ]


def set_job(conn: Connection, proof_id: int, job_id: int) -> None:
    conn.execute(update(proofs).where(proofs.c.id == proof_id).values(job_id=job_id))


def add_arm(conn: Connection, proof_id: int, name: str, measured: Mapping[str, Any]) -> None:
    """Stores one arm; one that is there already is replaced. Raises UserError as ``get``."""
    arms = {**get(conn, proof_id).arms, name: dict(measured)}
    conn.execute(update(proofs).where(proofs.c.id == proof_id).values(arms=arms))


def finish(conn: Connection, proof_id: int, result: Mapping[str, Any], clock: Callable[[], float] = time.time) -> None:
    """Stores what the arms say together. Raises UserError as ``get``."""
    get(conn, proof_id)
    conn.execute(update(proofs).where(proofs.c.id == proof_id).values(result=dict(result), finished=clock()))


def remove(conn: Connection, proof_id: int) -> None:
    """Deletes the proof; one that is not there is no error."""
    conn.execute(delete(proofs).where(proofs.c.id == proof_id))


def _proof(row: Row[Any]) -> Proof:
    return Proof(**row._mapping)
