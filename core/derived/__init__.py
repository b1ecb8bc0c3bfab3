"""What follows from measured signals without a model: one file a derivation."""

from __future__ import annotations

from core.plugins import kinds
from core.types import RunSpec, SignalTable


def derive(spec: RunSpec, table: SignalTable) -> SignalTable:
    """The table with the columns of every derivation added.

    Args:
        table: signals and facts of all n samples of the run, in training order.
    """
    columns = dict(table.columns)
    for derivation in kinds("derived").values():
        columns |= derivation.derive(spec, table)
    return SignalTable(table.keys, columns)
