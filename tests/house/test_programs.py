"""What an operator allows drains reaches logplex, and is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from oriel import faults
from oriel.house import programs
from oriel.house.layout import Layout
from oriel.house.settings import Flags, Settings, settle


def test_allowed_networks_are_kept_and_handed_on(tmp_path: Path) -> None:
    made = settle(Flags(allow_egress=("127.0.0.1", "10.1.2.3/8")), None, tmp_path)
    assert made.allow_egress == ("127.0.0.1/32", "10.0.0.0/8")
    again = settle(Flags(), Settings.from_json(made.to_json()), tmp_path)
    assert again.allow_egress == made.allow_egress
    layout = Layout(tmp_path)
    logplex = programs.programs(programs.real(layout), layout, again, {}, 5)[0]
    assert logplex.argv[-4:] == ("--allow-egress", "127.0.0.1/32", "--allow-egress", "10.0.0.0/8")
    # A logplex that was started without them is started again.
    assert logplex.started_with == "127.0.0.1/32 10.0.0.0/8"
    assert settle(Flags(allow_egress=("",)), again, tmp_path).allow_egress == ()
    with pytest.raises(faults.Invalid, match="not a network"):
        settle(Flags(allow_egress=("everywhere",)), None, tmp_path)
