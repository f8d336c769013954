"""Owns the conversation with HAProxy: its runtime socket, its master's, its check, its files.

The room's one shell. What is asked and written is made elsewhere; must not know dynos or apps.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

from oriel.clock import Clock, new_key
from oriel.faults import Unavailable
from oriel.router import seen as reading
from oriel.router import talk, tls
from oriel.router.maps import MAPS
from oriel.router.places import Stamp, slot_name
from oriel.router.render import Rendered
from oriel.router.seen import Activity, Process, Seen
from oriel.router.talk import Away

CONFIG = "haproxy.cfg"
_LAST = "haproxy.cfg.last"
_KEY = "onward.key"
REFUSED = "refused.txt"
"""Why the newest configuration was not taken, for `oriel doctor`; there only while that is so."""

_RUN_S = 20.0
_MASTER_WAIT_S = 2.0
_MASTER_POLL_S = 0.05
_REASON_BYTES = 4000
_OLD_FILE_S = 60.0
_NAMED_FILE = re.compile(r"[a-z]+\.[0-9a-f]{16}\.(?:map|lua|list|pem)")
_LIST = re.compile(r" crt-list \S+")
_FINE = re.compile(
    r"|New server registered\.|Server deleted\.|.* by 'stats socket command'"
    r"|New empty certificate store .*|Transaction (?:created|updated|aborted) for certificate .*"
    r"|Committing .*|Success!|Inserting certificate .*|Entry .* deleted in crtlist .*"
    r"|Certificate .* deleted!"
)


def program() -> str:
    """The path of HAProxy, which Debian keeps where an ordinary user's PATH does not look."""
    places = os.pathsep.join((os.defpath, "/usr/local/sbin", "/usr/sbin", "/sbin"))
    found = shutil.which("haproxy") or shutil.which("haproxy", path=places)
    if found is None:
        raise Unavailable(
            "HAProxy is not installed, and it carries every request to the apps.",
            hint="apt install haproxy",
        )
    return found


def command(directory: Path, master_socket: Path) -> tuple[str, ...]:
    """How `oriel up` starts HAProxy: in the foreground, as master and worker.

    `-dMglobal`: buffers that are free are kept, and not given to malloc and taken from it again
    with each request; that took some hundredths of its time (2.6 as Debian builds it).
    """
    master = f"{master_socket},mode,600"
    return (program(), "-W", "-dMglobal", "-S", master, "-f", str(directory / CONFIG))


def unprivileged_user() -> str | None:
    """Whom HAProxy becomes when root starts it; None: there is no such user, or no root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("haproxy").pw_name
    except KeyError:
        return None


class HAProxy:
    """One HAProxy, running or not, and the directory that it starts from."""

    def __init__(
        self, *, directory: Path, runtime_socket: Path, master_socket: Path, clock: Clock
    ) -> None:
        """Touches nothing yet."""
        self._directory = directory
        self._runtime_socket = runtime_socket
        self._master = talk.Master(master_socket)
        self._clock = clock
        self._taken: set[str] = set()
        """Lists of certificates that a check has taken."""

    async def process(self) -> Process:
        """Which HAProxy runs; raises Away."""
        process = reading.read_process(await talk.ask(self._runtime_socket, "show info"))
        if process is None:
            raise Away("it does not say who it is")
        return process

    async def see(self) -> Seen:
        """All that it has loaded; raises Away."""
        process = await self.process()
        ids = reading.read_map_ids(await talk.ask(self._runtime_socket, "show map"))
        maps: dict[str, Mapping[str, str | None]] = {name: {} for name in MAPS}
        for name, map_id in ids.items():
            text = await talk.ask(self._runtime_socket, f"show map {map_id}")
            maps[name] = reading.read_map(text)
        servers = reading.read_servers(await talk.ask(self._runtime_socket, "show servers state"))
        return Seen(process, ids, maps, servers, await self._see_tls())

    async def _see_tls(self) -> tls.SeenTls:
        """Its certificates; nothing where it listens without TLS."""
        list_ = tls.read_list(await talk.ask(self._runtime_socket, "show ssl crt-list"))
        if not list_:
            return tls.SeenTls()
        entries = tls.read_entries(
            await talk.ask(self._runtime_socket, f"show ssl crt-list {list_}")
        )
        stores, pending = tls.read_stores(await talk.ask(self._runtime_socket, "show ssl cert"))
        fallback = next((each for each in stores if each.startswith("fallback.")), "")
        shown = await talk.ask(self._runtime_socket, f"show ssl cert {self._directory / fallback}")
        return tls.SeenTls(list_, entries, stores, pending, tls.read_print(shown))

    async def activity(self, slots: Iterable[int]) -> dict[int, Activity]:
        """When these slots' servers were last sent something; raises Away.

        An earlier worker may still carry websockets: what is open there counts too.
        """
        wanted = sorted(set(slots))
        uptime_s = reading.read_uptime(await talk.ask(self._runtime_socket, "show info"))
        asks = [f"show stat {slot_name(each)} 2 -1" for each in wanted]
        text = "".join([await talk.ask(self._runtime_socket, line) for line in talk.lines(asks)])
        found = reading.read_activity(text, uptime_s)
        if not found:
            return {}
        for pid in await self.old_workers():
            old = [await self._master.ask_worker(pid, each) for each in asks]
            for slot, was in reading.read_activity("".join(old), uptime_s).items():
                if slot in found:
                    found[slot] = replace(found[slot], open=found[slot].open + was.open)
        return found

    async def old_workers(self) -> list[int]:
        """The workers that only finish what they have begun; raises Away."""
        return reading.read_old_workers(await self._master.ask("show proc"))

    async def in_use(self, slot: int, label: str) -> int:
        """How many requests are under way at a server, websockets too; raises Away.

        What earlier workers still carry counts too.
        """
        asked, name = f"show servers conn {slot_name(slot)}", f"{slot_name(slot)}/{label}"
        count = reading.read_in_use(await talk.ask(self._runtime_socket, asked), name)
        for pid in await self.old_workers():
            count += reading.read_in_use(await self._master.ask_worker(pid, asked), name)
        return count

    async def tell(self, commands: Iterable[str]) -> str:
        """Carry out commands in order; what it objected to, or nothing. Raises Away."""
        objections: list[str] = []
        for line in talk.lines(commands):
            answer = await talk.ask(self._runtime_socket, line)
            objections += [each for each in answer.splitlines() if not _FINE.fullmatch(each)]
        return "; ".join(objections)[:_REASON_BYTES]

    async def reload(self) -> None:
        """Have the master start a worker from the files; raises Away.

        After a start or a reload the master listens a moment later than its worker does.
        """
        deadline_s = self._clock.monotonic_s() + _MASTER_WAIT_S
        while True:
            try:
                return await self._master.reload()
            except Away:
                if self._clock.monotonic_s() > deadline_s:
                    raise
            await self._clock.sleep(_MASTER_POLL_S)

    async def write(self, rendered: Rendered) -> str:
        """Put a configuration where HAProxy starts from, if it takes it; else its reason."""
        config = self._directory / CONFIG
        if await asyncio.to_thread(_has, config, rendered.config):
            return ""
        fresh = self._directory / f"{CONFIG}.new"
        trial = self._directory / f"{CONFIG}.trial"
        lists = set(_LIST.findall(rendered.config))
        # Loading hundreds of certificates takes a second: those that were taken once are left out.
        text = _LIST.sub("", rendered.config) if lists <= self._taken else rendered.config
        files = {**rendered.files, fresh.name: rendered.config, trial.name: text}
        await asyncio.to_thread(self._put, files)
        reason = await self._check(trial)
        if not reason:
            self._taken = lists
            await asyncio.to_thread(self._commit, fresh, config)
        return reason

    async def note_refused(self, reason: str) -> None:
        """Keep, for whoever looks, why the newest configuration is not the one that serves."""
        path = self._directory / REFUSED
        if reason:
            await asyncio.to_thread(self._put, {REFUSED: reason + "\n"})
        elif path.exists():
            path.unlink(missing_ok=True)

    async def restore(self) -> None:
        """Go back to the last configuration that a HAProxy ran with: a reload has failed."""
        await asyncio.to_thread(self._restore)

    def on_disk(self) -> tuple[Stamp, Mapping[str, str | None]] | None:
        """The stamp and the apps' map that it would start from; None: there is none."""
        text = _text(self._directory / CONFIG)
        stamp = Stamp.find(text)
        named = re.search(r"/(apps\.[0-9a-f]{16}\.map)", text)
        if stamp is None or named is None:
            return None
        lines = _text(self._directory / named[1]).splitlines()
        return stamp, reading.read_map("".join(f"0x {line}\n" for line in lines))

    def key(self) -> str:
        """The secret with which one worker hands another a request; made when there is none."""
        kept = _text(self._directory / _KEY).strip()
        if not re.fullmatch(r"[0-9a-f]{32}", kept):
            kept = new_key(16).hex()
            self._put({_KEY: kept + "\n"})
        return kept

    def has_config(self) -> bool:
        """Is there anything that HAProxy could start from?"""
        return (self._directory / CONFIG).exists()

    async def can_hold(self) -> bool:
        """Is it built with Lua, which holds the requests of a booting app?"""
        _, said = await _run(program(), "-vv")
        return " +LUA " in said

    async def can_roll(self) -> bool:
        """Can it have another limit for silence once an answer has begun? 2.6 and 2.8 cannot."""
        with as_file(files(__package__) / "rolling.cfg") as trial:
            return not await self._check(trial)

    async def _check(self, config: Path) -> str:
        """What HAProxy objects to in a configuration; empty when it takes it."""
        status, said = await _run(program(), "-c", "-f", str(config))
        if status == 0:
            return ""
        # Its own version and path come first, and say nothing of what is wrong.
        objections = [each for each in said.splitlines() if not each.startswith("[NOTICE]")]
        reason = "\n".join(objections)[:_REASON_BYTES].strip()
        return reason or f"haproxy -c ended with status {status}"

    def _put(self, files: Mapping[str, str]) -> None:
        """Write files so that each is whole or not there; same name, same content for maps."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in files.items():
            path = self._directory / name
            if _has(path, text):
                os.utime(path)
                continue
            part = path.with_name(f"{name}.part")
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)

    def _commit(self, fresh: Path, config: Path) -> None:
        """Make `fresh` the configuration, and remove files that nothing names any more."""
        old, new = _text(config), _text(fresh)
        if old and Stamp.find(old) != Stamp.find(new):
            # It takes a reload, which may fail for what a check cannot see: a port, say.
            self._put({_LAST: old})
        fresh.replace(config)
        _sync(self._directory)
        named = set(_NAMED_FILE.findall(new + _text(self._directory / _LAST)))
        for each in [name for name in named if name.endswith(".list")]:
            named.update(_NAMED_FILE.findall(_text(self._directory / each)))
        # A HAProxy that starts at this moment may have read the configuration before.
        limit = self._clock.wall_ns() - int(_OLD_FILE_S * 1e9)
        for path in self._directory.iterdir():
            if not _NAMED_FILE.fullmatch(path.name) or path.name in named:
                continue
            if path.stat().st_mtime_ns < limit:
                path.unlink(missing_ok=True)

    def _restore(self) -> None:
        """Put the last configuration of the running layout back."""
        if last := _text(self._directory / _LAST):
            self._put({CONFIG: last})
            _sync(self._directory)


async def _run(*argv: str) -> tuple[int | None, str]:
    """A short command's status and all that it said."""
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_RUN_S):
            output, _ = await child.communicate()
    except TimeoutError:
        return None, f"{Path(argv[0]).name} did not end within {_RUN_S:g} s"
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return child.returncode, output.decode("utf-8", "replace")


def _text(path: Path) -> str:
    """A file's text; empty when it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _sync(directory: Path) -> None:
    """Make renames in a directory last."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _has(path: Path, text: str) -> bool:
    """Is it there with this very content?"""
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
