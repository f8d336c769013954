"""How many of each process type an app is to run."""

from __future__ import annotations

import pytest

from oriel.faults import Invalid
from oriel.ledger import Scale, settings
from tests.ledger.world import START, Ledger


def test_quantities_are_kept_web_first(ledger: Ledger) -> None:
    def scale(type: str, quantity: int, size: str = "standard-1x") -> None:
        ledger.write(
            lambda conn: settings.set_scale(conn, ledger.app.id, type, quantity, size, START)
        )

    assert ledger.read(lambda conn: settings.quantities(conn, ledger.app.id)) == {}
    for type, quantity in (("worker", 1), ("clock", 2), ("web", 4), ("worker", 0)):
        scale(type, quantity)
    scale("clock", 3, "standard-2x")
    found = ledger.read(lambda conn: settings.quantities(conn, ledger.app.id))
    assert list(found.items()) == [
        ("web", Scale(4)),
        ("clock", Scale(3, "standard-2x")),
        ("worker", Scale(0)),
    ]
    assert ledger.read(lambda conn: settings.quantities(conn, "another")) == {}


@pytest.mark.parametrize(
    ("type", "quantity"), [("web", -1), ("web", 101), ("we b", 1), ("", 1), ("x" * 129, 1)]
)
def test_what_cannot_be_scaled(ledger: Ledger, type: str, quantity: int) -> None:
    with pytest.raises(Invalid):
        ledger.write(
            lambda conn: settings.set_scale(conn, ledger.app.id, type, quantity, "s", START)
        )


def test_features_are_switched_and_kept(ledger: Ledger) -> None:
    def kept() -> dict[str, bool]:
        found = ledger.read(lambda conn: settings.features(conn, ledger.app.id))
        return {name: each.enabled for name, each in found.items()}

    assert kept() == {}
    for enabled in (True, True, False):
        ledger.write(
            lambda conn, on=enabled: settings.set_feature(  # type: ignore[misc]
                conn, ledger.app.id, "preboot", on, START
            )
        )
        assert kept() == {"preboot": enabled}


def test_a_check_is_set_changed_and_unset(ledger: Ledger) -> None:
    def kept() -> settings.CheckSetting | None:
        return ledger.read(lambda conn: settings.check(conn, ledger.app.id))

    assert kept() is None
    for wanted in (settings.CheckSetting("/health", 60), settings.CheckSetting("", 90)):
        ledger.write(
            lambda conn, it=wanted: settings.set_check(  # type: ignore[misc]
                conn, ledger.app.id, it, START
            )
        )
        assert kept() == wanted
    ledger.write(lambda conn: settings.unset_check(conn, ledger.app.id))
    assert kept() is None
