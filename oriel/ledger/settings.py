"""Owns how many of each process type an app is to run. Must not know what runs.

No release holds it: scaling is an act, and the row here is the fold of those acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from oriel.faults import Invalid
from oriel.ledger.tables import formations
from oriel.lexicon import Malformed, ProcessType

SIZE = "standard-1x"
QUANTITY_MAX = 100
"""Dynos of one type; a mistyped number must not take the machine down."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How many dynos of a process type, and how big."""

    quantity: int
    size: str = SIZE


def quantities(conn: Connection, app_id: str) -> dict[str, Scale]:
    """Every process type that was ever scaled; web first, the rest by name."""
    rows = conn.execute(
        select(formations.c.type, formations.c.quantity, formations.c.size).where(
            formations.c.app_id == app_id
        )
    )
    ordered = sorted(rows, key=lambda row: (row.type != "web", row.type))
    return {row.type: Scale(row.quantity, row.size) for row in ordered}


def set_scale(
    conn: Connection, app_id: str, type: str, quantity: int, size: str, now: datetime
) -> None:
    """From now on run `quantity` dynos of `size` for process type `type`; raises Invalid."""
    try:
        ProcessType(type)
    except Malformed as error:
        raise Invalid(str(error)) from None
    if not 0 <= quantity <= QUANTITY_MAX:
        raise Invalid(f"{type} can be scaled from 0 to {QUANTITY_MAX}, not to {quantity}.")
    values = {"quantity": quantity, "size": size, "updated_at": now}
    row = (formations.c.app_id == app_id) & (formations.c.type == type)
    if not conn.execute(update(formations).where(row).values(values)).rowcount:
        conn.execute(insert(formations).values(app_id=app_id, type=type, **values))
