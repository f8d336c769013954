"""Owns a platform's part of the machine's network as it is: its subnet, its table in the firewall,
and which sandbox has which address.

Nothing here must be undone for a sandbox that ends: its devices and routes end with its network
namespace, which nothing but its processes holds. What lasts is the table, told anew at each start,
and removed when nothing runs any more. A subnet is chosen under a lock of the machine, and kept in
the data directory. Must not know who runs in a sandbox.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oriel.clock import pick_number
from oriel.faults import Unavailable
from oriel.sandbox import linux, netlink, subnet
from oriel.sandbox.subnet import FIRST, LAST, Names, Openings, Subnet, Wires
from oriel.sandbox.walls import Walls

FILE = "network.json"
VERSION = 1
MACHINE = Path("/run/oriel")
"""Where the platforms of one machine leave word of themselves: a file for each subnet in use."""
DEVICES = Path("/sys/class/net")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
NFT_TIMEOUT_S = 20.0
MTU = 1500
CLOSE_LOOKS = 50
CLOSE_PAUSE_S = 0.02
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
_RESOLV = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
_NETWORK_MANAGER = "/run/NetworkManager/no-stub-resolv.conf"

_log = logging.getLogger("oriel.sandbox.network")


class Network:
    """The addresses of one platform's sandboxes, and the rules about them."""

    def __init__(self, mine: Subnet, named: Names, rules: str, mtu: int) -> None:
        """Made by `open_network`."""
        self.walls = Walls(mine.table, rules, nft)
        """Its rules, which somebody may take away."""
        self.subnet = mine
        self.names = named
        self._mtu = mtu
        self._given: dict[str, str] = {}
        # Not the first: what a killed process was about to start is not there yet, and has one.
        self._next = pick_number(FIRST, LAST)

    def lease(self, holder: str) -> str:
        """An address for `holder`, its alone until `give_back`; raises Unavailable.

        They go round, so that one comes again as late as can be.
        """
        for _ in range(LAST - FIRST + 1):
            place, self._next = self._next, self._next + 1 if self._next < LAST else FIRST
            address = self.subnet.address(place)
            # A device that is there is one of a sandbox whose address nobody remembers (yet).
            if address not in self._given and not (DEVICES / self.subnet.device(address)).exists():
                self._given[address] = holder
                return address
        raise Unavailable(f"All {LAST - FIRST + 1} addresses for dynos are in use.")

    def keep(self, address: str, holder: str) -> None:
        """Remember the address of a sandbox that runs already, or may still be sent requests."""
        if self.subnet.holds(address):
            self._given[address] = holder

    def give_back(self, holder: str) -> None:
        """The holder has no address any more."""
        self._given = {each: who for each, who in self._given.items() if who != holder}

    def wires(self, address: str) -> dict[str, Any]:
        """What the fork server makes for a sandbox."""
        to_loopback = self.names.loopback is not None
        device = self.subnet.device(address)
        return asdict(Wires(device, address, self.subnet.gateway, self._mtu, to_loopback))

    def close(self) -> None:
        """Remove the table, unless a sandbox runs that it guards. May block for a moment, since
        the kernel takes its time over the devices of one that has just ended.
        """
        for _ in range(0 if self._given else CLOSE_LOOKS):
            if not _devices(self.subnet):
                break
            time.sleep(CLOSE_PAUSE_S)
        if _devices(self.subnet):
            return
        with contextlib.suppress(OSError, Unavailable):
            nft(f"delete table inet {self.subnet.table}\n")
            (MACHINE / f"{self.subnet.number:03x}").unlink(missing_ok=True)


def open_network(data: Path, openings: Openings) -> Network:
    """The network of a data directory, its rules in force; raises Unavailable with the reason.

    Blocks for some hundredths of a second.
    """
    try:
        with _alone():
            guard = _forward(data)
            mine = _settle(data)
            named = look_for_names(mine.gateway)
            rules = subnet.rules(mine, named, whose=str(data), openings=openings, guard=guard)
            nft(rules)
            return Network(mine, named, rules, _mtu())
    except OSError as error:
        raise Unavailable(f"No network for dynos: {error.strerror or error}.") from error


def look_for_names(gateway: str) -> Names:
    """How sandboxes find names here: by the machine's own name servers where they can be reached,
    by one on its loopback at `gateway`.

    systemd-resolved and NetworkManager put themselves on loopback, and keep the real ones in a
    file.
    """
    own = [route for route, length in _routes() if length == 32]
    found = Names("", missing=True)
    for place in (*_RESOLV, _NETWORK_MANAGER):
        with contextlib.suppress(OSError):
            read = subnet.names(Path(place).read_text(errors="replace"), gateway, own)
            if not read.missing and read.loopback is None:
                return read
            found = read if found.missing else found
    return found


def nft(text: str, *words: str) -> str:
    """Tell the firewall, or ask it with `words`; raises Unavailable with its own words."""
    program = shutil.which("nft", path=_PATH)
    if program is None:
        raise Unavailable("nftables is not installed: apt-get install nftables")
    done = subprocess.run(
        [program, *(words or ("-f", "-"))],
        input=text.encode(),
        capture_output=True,
        timeout=NFT_TIMEOUT_S,
        env={"PATH": _PATH},
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable(f"nft: {lines[0] if lines else done.returncode}")
    return done.stdout.decode(errors="replace")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One platform of the machine at a time."""
    MACHINE.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(MACHINE / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _settle(data: Path) -> Subnet:
    """The subnet of a data directory: the one it had, unless somebody came in between."""
    whose = str(data.resolve())
    taken = _taken(whose)
    had = _kept(data)
    mine = had
    if had is None or not _devices(had):
        foreign = [each for each in _routes() if had is None or not had.holds(each[0])]
        gone = had is not None and (had.number in taken or subnet.clashes(had, foreign))
        if had is None or gone:
            mine = subnet.choose(whose, _routes(), taken)
    if mine is None:
        raise Unavailable("Every subnet that dynos could have is in use on this machine.")
    _write(MACHINE / f"{mine.number:03x}", {"data": whose})
    if mine != had:
        _write(data / FILE, {"version": VERSION, "subnet": mine.number})
    return mine


def _taken(whose: str) -> set[int]:
    """The subnets of the machine's other platforms. One whose data directory is gone, and of which
    nothing runs, is removed.
    """
    found: set[int] = set()
    for place in MACHINE.iterdir():
        try:
            other = Subnet(int(place.name, 16))
            owner = json.loads(place.read_text())["data"]
        except (ValueError, KeyError, TypeError, OSError):
            continue
        if owner == whose:
            continue
        if Path(owner).is_dir() or _devices(other):
            found.add(other.number)
            continue
        with contextlib.suppress(Unavailable):
            nft(f"table inet {other.table} {{}}\ndelete table inet {other.table}\n")
            place.unlink(missing_ok=True)
    return found


def _kept(data: Path) -> Subnet | None:
    try:
        kept = json.loads((data / FILE).read_text())
        return Subnet(int(kept["subnet"])) if kept["version"] == VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, value: object) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.write_text(json.dumps(value))
    os.replace(draft, path)


def _devices(mine: Subnet) -> list[str]:
    return [name for name in os.listdir(DEVICES) if name.startswith(mine.devices)]


def _routes() -> list[tuple[str, int]]:
    asking = netlink.Netlink()
    try:
        return list(asking.routes())
    finally:
        asking.close()


def _mtu() -> int:
    """The smallest of the machine's own devices that are on: what leaves it fits through."""
    found = [MTU]
    for device in DEVICES.iterdir():
        with contextlib.suppress(OSError, ValueError):
            on = int((device / "flags").read_text(), 16) & 1
            if on and device.name != "lo" and not device.name.startswith("or"):
                found.append(max(576, int((device / "mtu").read_text())))
    return min(found)


def _forward(data: Path) -> bool:
    """Switch forwarding on where it is off. Whether that was us, in this boot: then nothing but
    sandboxes is to profit from it.
    """
    mark = MACHINE / "forwarding"
    if FORWARDING.read_text().strip() == "0":
        mark.write_text(linux.boot_id())
        FORWARDING.write_text("1")
        _log.info("switched net.ipv4.ip_forward on, for dynos")
    try:
        return mark.read_text() == linux.boot_id()
    except FileNotFoundError:
        return False
