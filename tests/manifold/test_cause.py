"""Why a dyno is in its state: in words, and to the record and back."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.manifold.cause import Cause, Kind
from oriel.sandbox import Exit

LOST = Exit(None, lost=True)
KINDS: tuple[Kind, ...] = get_args(Kind)


@pytest.mark.parametrize(
    ("exit_", "kind", "words"),
    [
        (Exit(0), "exited", "exited with status 0"),
        (Exit(1), "exited", "exited with status 1"),
        (Exit.of(137), "signalled", "exited with status 137 (SIGKILL)"),
        (Exit.of(143), "signalled", "exited with status 143 (SIGTERM)"),
        (Exit.of(139), "signalled", "exited with status 139 (SIGSEGV)"),
        (Exit.of(192), "signalled", "exited with status 192 (SIGRTMAX)"),
        (Exit.of(160), "exited", "exited with status 160"),
        (Exit.of(255), "exited", "exited with status 255"),
        (LOST, "lost", "ended, with a status that is not known"),
        (
            Exit(1, out_of_memory=True),
            "out_of_memory",
            "ran out of memory (R15), exited with status 1",
        ),
    ],
)
def test_how_it_ended(exit_: Exit, kind: Kind, words: str) -> None:
    cause = Cause.of_exit(exit_)
    assert (cause.kind, cause.words, cause.status) == (kind, words, exit_.code)


causes = st.recursive(
    st.builds(
        Cause,
        kind=st.sampled_from(KINDS),
        by=st.sampled_from(["", "ned@foobazco.com"]),
        release=st.none() | st.integers(1, 99),
        status=st.none() | st.integers(0, 255),
        signal=st.none() | st.sampled_from([9, 15]),
        timeout_s=st.just(30.0),
        memory_bytes=st.just(1 << 30),
        quota_bytes=st.just(1 << 29),
        why=st.text(max_size=9),
        count=st.none() | st.integers(1, 9999),
        statuses=st.none() | st.dictionaries(st.sampled_from(["0", "1", "lost"]), st.integers(1)),
    ),
    lambda inner: st.builds(
        Cause, kind=st.just("exit_timeout"), timeout_s=st.just(30.0), first=inner
    ),
    max_leaves=3,
)


@given(causes)
def test_it_comes_back_from_the_record_as_it_went_in(cause: Cause) -> None:
    assert Cause.from_kept(json.loads(json.dumps(cause.kept()))) == cause
    assert isinstance(cause.words, str)


@pytest.mark.parametrize("kept", [None, 3, "x", {}, {"kind": "from the future"}])
def test_what_another_version_wrote_keeps_its_words(kept: object) -> None:
    assert Cause.from_kept(kept, "exited with status 3").words == "exited with status 3"
    stopped = Cause.from_kept(kept, "stopped by kate@foobazco.com")
    assert (stopped.kind, stopped.by) == ("stopped", "kate@foobazco.com")


def test_the_root_of_a_chain() -> None:
    stopped = Cause("stopped", by="kate")
    late = Cause("exit_timeout", timeout_s=30, first=stopped)
    assert late.root is stopped
    assert late.words == "stopped by kate; killed 30 s after SIGTERM (R12)"
