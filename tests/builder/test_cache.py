from __future__ import annotations

import subprocess

import pytest

from oriel.builder import cache
from oriel.builder.limits import Limits
from oriel.builder.recipe import Kept, Step

KEPT = Kept("abc", "/app/.venv", "requirements.txt is unchanged")


@pytest.mark.parametrize("step", [cache.restore(KEPT), cache.keep(KEPT), cache.trim(Limits())])
def test_steps_are_posix_sh(step: Step) -> None:
    subprocess.run(["/bin/sh", "-n", "-c", step.argv[2]], check=True)


def test_a_key_has_a_place_of_its_own() -> None:
    assert cache.restore(KEPT).argv[3:] == ("sh", "/cache/kept/abc", "/app/.venv")
    assert cache.keep(KEPT).argv[3:] == ("sh", "/cache/kept/abc", "/app/.venv")
