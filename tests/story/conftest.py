"""One platform for the stories of a module; a fresh one where a story needs it for itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.story.machine import Housed
from tests.story.platform import Platform, User


def _missing() -> str:
    for program in ("bwrap", "haproxy", "git"):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"):
            return f"{program} is not installed"
    return ""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if _missing():
        pytest.skip(_missing())
    whole = Platform(tmp_path_factory.mktemp("oriel"))
    whole.start()
    try:
        yield whole
    finally:
        whole.stop()


@pytest.fixture(scope="module")
def rick(platform: Platform) -> User:
    return platform.set_up("rick@foobazco.com")


@pytest.fixture(scope="module")
def ned(platform: Platform, rick: User) -> User:
    return platform.invite("ned@foobazco.com")


@pytest.fixture
def own_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that a story may kill."""
    if _missing():
        pytest.skip(_missing())
    whole = Platform(tmp_path_factory.mktemp("own"))  # a short name: sockets lie below it
    try:
        yield whole
    finally:
        whole.stop()


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Housed]:
    """A platform that is not started yet, on a booted machine of its own."""
    if os.geteuid() != 0:
        pytest.skip("a machine of its own needs root")
    if _missing():
        pytest.skip(_missing())
    made = Housed(tmp_path_factory.mktemp("house"))
    try:
        made.machine.boot()
        yield made
    finally:
        made.machine.close()
