"""Owns names for apps that came without one, as in `strong-fire-938`."""

from __future__ import annotations

from oriel.clock import pick_number

_ADJECTIVES = """
amber ancient autumn bitter blue bold calm clear cold cool crimson dawn deep falling fierce
floating fragrant frosty gentle glowing golden green hidden holy icy late lively lone misty
morning mute old pacific patient polished proud pure quiet rapid rough severe sharp silent
simple smooth snowy solitary sparkling spring stark still strong summer sunny sweet vivid warm
wild winter young
""".split()

_NOUNS = """
beach bird breeze brook canyon cliff cloud dawn dew dream dust earth feather field fire flower
fog forest frost garden glade glacier grass harbor haze hill island lake leaf meadow mist moon
mountain night ocean paper peak pine plain pond rain reef ridge river sea shadow sky smoke snow
sound spring star stone stream sun surf thunder tree valley water wave wind wood
""".split()


def any_name() -> str:
    """A name that nobody is likely to have."""
    adjective = _ADJECTIVES[pick_number(0, len(_ADJECTIVES) - 1)]
    noun = _NOUNS[pick_number(0, len(_NOUNS) - 1)]
    return f"{adjective}-{noun}-{pick_number(100, 9999)}"
