"""The official command line against a real Oriel: installed once, one platform for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import installation, netns, place
from .heroku import Heroku, lingering
from .place import NED, Place

HERE = Path(__file__).parent
NEEDED = ("bwrap", "haproxy", "git")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Installing from npm may take its time; whoever comes first waits for it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.real)
            item.add_marker(pytest.mark.timeout(installation.INSTALL_TIMEOUT_S + 300))


@pytest.fixture(scope="session")
def program() -> Path:
    """Where the official `heroku` is."""
    try:
        return installation.installed()
    except installation.Missing as why:
        pytest.skip(f"The official Heroku command line cannot be had: {why}")


@pytest.fixture(scope="session")
def oriel(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A running Oriel where Ned and Kate live."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in NEEDED if not shutil.which(name, path=path)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: no platform to talk to.")
    with place.running(tmp_path_factory.mktemp("official")) as running:
        yield running


@pytest.fixture(scope="session")
def entrance(oriel: Place) -> Iterator[tuple[str, ...]]:
    """How to run something that sees the ports of the API and of the rendezvous, and no more."""
    if os.getuid() != 0 or not shutil.which("nsenter"):
        yield ()
        return
    with netns.island(oriel.port, oriel.rendezvous) as island:
        yield island.enter


@pytest.fixture(scope="session")
def heroku_as(
    program: Path,
    oriel: Place,
    entrance: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str | None], Heroku]]:
    """The command line as somebody with a token, or as nobody yet. Nothing of it stays behind."""
    homes: list[Path] = []

    def make(email: str | None) -> Heroku:
        homes.append(tmp_path_factory.mktemp("home"))
        token = oriel.tokens[email] if email else None
        return Heroku(program, oriel.api, homes[-1], token, entrance)

    yield make
    left = [process for home in homes for process in lingering(home)]
    assert not left, f"the official command line left processes behind: {left}"


@pytest.fixture(scope="session")
def heroku(heroku_as: Callable[[str | None], Heroku]) -> Heroku:
    """The command line as Ned."""
    return heroku_as(NED)
