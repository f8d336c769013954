"""What differs between two releases; values stay hidden unless asked for."""

from __future__ import annotations

from hypothesis import given, strategies

from oriel.ledger import State
from oriel.ledger.diff import MASK, Changed, Differences, diff

TABLES = strategies.dictionaries(
    strategies.sampled_from("ABCDE"), strategies.sampled_from(["1", "2", "3"])
)
STATES = strategies.builds(
    State,
    version=strategies.integers(1, 9),
    slug=strategies.none(),
    commit=strategies.sampled_from(["aaa", "bbb"]),
    process_types=TABLES,
    config=TABLES,
)


def _state(commit: str, types: dict[str, str], config: dict[str, str]) -> State:
    return State(1, None, commit, types, config)


def test_a_story() -> None:
    a = _state("aaa", {"web": "thin", "worker": "rake"}, {"KEEP": "1", "OLD": "2", "KEY": "3"})
    b = _state("bbb", {"web": "puma", "clock": "tick"}, {"KEEP": "1", "NEW": "4", "KEY": "5"})
    found = diff(a, b, reveal=False)
    assert found.commits == Changed("aaa", "bbb")
    assert found.process_types == Differences(
        {"clock": "tick"}, {"worker": "rake"}, {"web": Changed("thin", "puma")}
    )
    assert found.config == Differences({"NEW": MASK}, {"OLD": MASK}, {"KEY": Changed(MASK, MASK)})
    assert diff(a, b, reveal=True).config == Differences(
        {"NEW": "4"}, {"OLD": "2"}, {"KEY": Changed("3", "5")}
    )


@given(a=STATES)
def test_nothing_differs_from_itself(a: State) -> None:
    assert not diff(a, a, reveal=True)


@given(a=STATES, b=STATES)
def test_a_diff_leads_from_one_to_the_other(a: State, b: State) -> None:
    found = diff(a, b, reveal=True)
    for before, after, change in (
        (a.config, b.config, found.config),
        (a.process_types, b.process_types, found.process_types),
    ):
        built = {key: value for key, value in before.items() if key not in change.removed}
        built |= change.added
        built |= {key: value.after for key, value in change.changed.items()}
        assert built == after
    back = diff(b, a, reveal=True)
    assert back.config.added == found.config.removed
    assert bool(back) == bool(found)


@given(a=STATES, b=STATES)
def test_masked_tells_the_same_keys_and_no_value(a: State, b: State) -> None:
    masked, open_ = diff(a, b, reveal=False).config, diff(a, b, reveal=True).config
    assert masked.added.keys() == open_.added.keys()
    assert masked.removed.keys() == open_.removed.keys()
    assert masked.changed.keys() == open_.changed.keys()
    shown = [*masked.added.values(), *masked.removed.values()]
    shown += [each for change in masked.changed.values() for each in (change.before, change.after)]
    assert set(shown) <= {MASK}
