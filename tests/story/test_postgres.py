"""The tale with its records in a real PostgreSQL: the same, to the letter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.story import test_seed
from tests.story.platform import Platform, User

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    url = postgres.new_url("postgresql", Path(tmp_path_factory.mktemp("unused")))
    whole = Platform(tmp_path_factory.mktemp("postgres"), more=("--database", url))
    whole.start()
    try:
        yield whole
    finally:
        whole.stop()
        postgres.give_back(url)


def test_deploy_gone_wrong(platform: Platform, rick: User, ned: User) -> None:
    test_seed.test_deploy_gone_wrong(platform, rick, ned)
    assert not (platform.data / "oriel.db").exists()
