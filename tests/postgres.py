"""A real PostgreSQL from the distribution's package, and the fixtures that run a test on both.

One server for a whole run, in a temporary directory, reached by a Unix socket only. Each test gets
a database of its own, copied from one that is migrated already.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from oriel.clock import SystemClock
from oriel.store import Database

BOTH = [
    pytest.param("sqlite"),
    pytest.param("postgresql", marks=pytest.mark.real),
]
HEAD = "0004"
"""The newest migration."""

_TABLES = (
    "SELECT string_agg(tablename, ',') FROM pg_tables"
    " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
)
_numbers = count(1)
_emptied: list[str] = []


class Server:
    """A running PostgreSQL; ends with the process that started it, however that ends."""

    def __init__(self, programs: Path) -> None:
        """Initialise and start one; returns once it accepts connections."""
        # Not below pytest's own directory: that is closed to the user postgres.
        self.directory = Path(tempfile.mkdtemp(prefix="oriel-postgres-"))
        self._data = self.directory / "data"
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        self._run(
            programs / "initdb", "-D", self._data, "-U", "oriel", "-A", "trust",
            "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions",
        )  # fmt: skip
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "fsync": "off",
            "autovacuum": "off",
            "max_connections": "40",
            "shared_buffers": "16MB",
            "lc_messages": "C",
            "log_min_messages": "log",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self._process = subprocess.Popen(
            [*self._as_owner(), programs / "postgres", "-D", self._data, *options],
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        self._wait()

    def url(self, name: str) -> str:
        """How to reach one of its databases."""
        return f"postgresql://oriel@/{name}?host={self.directory}"

    def new(self, template: str = "template0") -> str:
        """A new database; gives its URL."""
        name = f"test{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def execute(self, statement: str) -> None:
        """Run one statement as superuser, outside any test's database."""
        url = self.url("postgres").replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as conn:
            conn.execute(text(statement))
        engine.dispose()

    def stop(self) -> None:
        """End the server at once and remove its directory."""
        self._process.send_signal(3)  # SIGQUIT: at once; nothing here is worth a checkpoint
        self._process.wait(20)
        self._listening.join(20)  # It ends with the server, and reads what is closed here.
        self._process.stderr.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait(self) -> None:
        ready = threading.Event()
        said: list[str] = []

        def listen() -> None:
            for line in self._process.stderr:
                said.append(line)
                if "database system is ready to accept connections" in line:
                    ready.set()
            ready.set()

        self._listening = threading.Thread(target=listen, daemon=True)
        self._listening.start()
        if not ready.wait(60) or self._process.poll() is not None:
            raise RuntimeError("PostgreSQL did not start: " + "".join(said))

    def _run(self, *argv: object) -> None:
        done = subprocess.run(
            [*self._as_owner(), *map(str, argv)], capture_output=True, text=True, cwd="/"
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def _as_owner(self) -> list[str]:
        death = ["setpriv", "--pdeathsig", "QUIT"]
        if os.geteuid() != 0:
            return death
        return [*death, "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]


def programs() -> Path | None:
    """Where PostgreSQL's programs are, newest first; None when it is not installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4])
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path and shutil.which("initdb") else None


@functools.cache
def server() -> Server:
    """The one server of this run; skips the test where the package is not installed."""
    where = programs()
    if where is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    started = Server(where)
    atexit.register(started.stop)
    return started


@functools.cache
def _migrated(kind: str) -> str:
    """A migrated database to copy: a file's path, or a database's name."""
    if kind == "postgresql":
        url = server().new()
        Database.open(url, SystemClock()).close()
        return url.split("/")[3].split("?")[0]
    directory = tempfile.mkdtemp(prefix="oriel-sqlite-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    Database.open(f"sqlite:///{directory}/oriel.db", SystemClock()).close()
    return f"{directory}/oriel.db"


def new_url(kind: str, directory: Path) -> str:
    """The URL of a fresh, migrated database."""
    if kind == "postgresql":
        return _emptied.pop() if _emptied else server().new(_migrated(kind))
    shutil.copy(_migrated(kind), directory / "oriel.db")
    return f"sqlite:///{directory}/oriel.db"


def give_back(url: str) -> None:
    """Empty a database for the next test: much quicker than another copy."""
    if not url.startswith("postgresql"):
        return
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as conn:
        conn.execute(text("SET LOCAL lock_timeout = '5s'"))
        conn.execute(text("SET LOCAL session_replication_role = replica"))  # past the triggers
        names = conn.execute(text(_TABLES)).scalar_one()
        conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        conn.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": HEAD})
    engine.dispose()
    _emptied.append(url)


@pytest.fixture(params=BOTH)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database that nobody has open yet, of each kind."""
    fresh = new_url(request.param, tmp_path)
    yield fresh
    give_back(fresh)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An open database, of each kind."""
    opened = Database.open(url, SystemClock())
    yield opened
    opened.close()
