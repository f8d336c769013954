from __future__ import annotations

from collections.abc import Iterator

import pytest

from oriel.client.address import Address
from oriel.client.wire import Client
from tests.client.stub import Stub


@pytest.fixture(scope="session")
def server() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.close()


@pytest.fixture
def stub(server: Stub) -> Stub:
    server.reset()
    return server


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(stub: Stub, pauses: list[float]) -> Iterator[Client]:
    made = Client(Address.parse(stub.url), "secret-token", pause=pauses.append)
    yield made
    made.close()
