"""Who may come: once, in time, and nobody else."""

from __future__ import annotations

from oriel.rendezvous.invitations import Invitations


def test_a_secret_is_good_once() -> None:
    open_: Invitations[str] = Invitations()
    open_.invite("s" * 43, 30.0, "bash")
    assert open_.take("t" * 43, 0.0) is None
    assert open_.take("s" * 43, 29.9) == "bash"
    assert open_.take("s" * 43, 29.9) is None


def test_it_expires_and_is_gone_for_good() -> None:
    open_: Invitations[str] = Invitations()
    open_.invite("s" * 43, 30.0, "bash")
    assert open_.take("s" * 43, 30.0) is None
    assert open_.take("s" * 43, 0.0) is None


def test_one_can_be_withdrawn_and_no_secret_is_kept() -> None:
    open_: Invitations[str] = Invitations()
    open_.invite("s" * 43, 30.0, "bash")
    assert "ssss" not in repr(open_)
    assert len(open_) == 1
    open_.withdraw("s" * 43)
    assert open_.take("s" * 43, 0.0) is None
    assert len(open_) == 0
