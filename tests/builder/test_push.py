from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.builder.push import Asked, RefUpdate, decide, read
from oriel.faults import Fault, Invalid

NONE, A, B = "0" * 40, "a" * 40, "b" * 40
MAIN, MASTER, TOPIC, TAG = (
    "refs/heads/main",
    "refs/heads/master",
    "refs/heads/topic",
    "refs/tags/v1",
)


def asked(*updates: tuple[str, str, str], **more: object) -> Asked:
    return Asked(tuple(RefUpdate(*update) for update in updates), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "deploys", "notes"),
    [
        (asked((NONE, A, MAIN)), MAIN, ()),
        (asked((A, B, MASTER)), MASTER, ()),
        (asked((B, A, MAIN)), MAIN, ()),
        (asked((NONE, A, TOPIC)), None, ("only main or master is deployed; stored topic",)),
        (asked((NONE, A, TAG)), None, ("only main or master is deployed; stored v1",)),
        (
            asked((A, B, MAIN), (NONE, B, TOPIC)),
            MAIN,
            ("only main or master is deployed; stored topic",),
        ),
        (asked((A, NONE, TOPIC)), None, ("deleted topic",)),
        (asked((A, NONE, MASTER), head=MAIN), None, ("deleted master",)),
        (asked((NONE, A, MAIN), (NONE, A, MASTER)), MAIN, ()),
        (asked((A, B, MAIN), current=((MAIN, A),), kinds=((B, "commit"),)), MAIN, ()),
        (asked((NONE, B, "refs/heads/feature/main")), None, None),
        (asked(), None, ()),
    ],
)
def test_what_deploys(what: Asked, deploys: str | None, notes: tuple[str, ...] | None) -> None:
    decision = decide(what)
    assert (decision.deploys.ref if decision.deploys else None) == deploys
    assert notes is None or decision.notes == notes


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (asked((A, NONE, MAIN), head=MAIN), "main is the deployed branch and can't be deleted"),
        (asked((A, NONE, MASTER), head=MASTER), "master is the deployed branch"),
        (asked((A, NONE, MAIN), (A, NONE, MASTER)), "can't be deleted"),
        (asked((NONE, A, MAIN), (NONE, B, MASTER)), "only one can be deployed"),
        (asked((NONE, A, MAIN), kinds=((A, "tag"),)), "main would be a tag, not a commit"),
        (asked((A, B, MAIN), current=((MAIN, B),)), "main has moved meanwhile"),
        (asked((NONE, B, MAIN), current=((MAIN, A),)), "main has moved meanwhile"),
    ],
)
def test_what_is_refused(what: Asked, says: str) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        decide(what)
    assert caught.value.hint


def test_reads_what_the_hook_writes() -> None:
    text = (
        f"quarantine tmp_objdir-incoming-a1B2c3\nhead {MAIN}\n"
        f"now {A} {MAIN}\nkind {B} commit\nupdate {A} {B} {MAIN}\nupdate {NONE} {B} {TOPIC}\n"
    )
    assert read(text) == Asked(
        updates=(RefUpdate(A, B, MAIN), RefUpdate(NONE, B, TOPIC)),
        head=MAIN,
        kinds=((B, "commit"),),
        current=((MAIN, A),),
        quarantine="tmp_objdir-incoming-a1B2c3",
    )


@pytest.mark.parametrize(
    "line", ["update a b", f"update {A} {B} x y", "quarantine ../../etc", "rm -rf", f"kind {A}"]
)
def test_refuses_what_no_hook_writes(line: str) -> None:
    with pytest.raises(Invalid):
        read(line + "\n")


def test_refuses_a_flood_of_refs() -> None:
    with pytest.raises(Invalid, match="more than 1000 refs"):
        read(f"update {A} {B} refs/heads/x\n" * 1001)


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["update", A, B, NONE, MAIN, "now", " "])).map(" ".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(Fault):
        decide(read(text))
