"""Owns forking: a small single-threaded process that starts sandboxes for a large one.

`python -m oriel.sandbox.spawner FD` reads requests from the socket FD until it closes. A request
is one message with descriptors and a letter: `s` starts a sandbox, with [plan, report, status,
stdin, stdout, stderr, gate]; `e` goes into one that runs, as `enter` says. The plan is a file in
memory, so its size has no bound but the sender's. Nothing is answered on the socket. What is
started writes to `report`: a line with its pid and start time, then either the error that kept it
from executing bubblewrap, or bubblewrap's own account; then the pipe closes. A pipe that closes
without a first line therefore means that nothing was started. The program begins when a byte comes
through `gate`, or when nobody is left to send one.

Must not know more of Oriel than `render`'s descriptor numbers, and imports as little as it can:
every start copies its page tables. It never waits for what it started: a double fork hands that
to the subreaper (or init), so it survives this process, and this process's parent.
"""

from __future__ import annotations

import array
import fcntl
import gc
import json
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from oriel.sandbox import enter, linux, wires

ARGUMENTS_FD, STATUS_FD, REPORT_FD, GATE_FD = (
    3,
    4,
    5,
    6,
)  # `render` has the same; it is too large to import
STAGE = "/mnt"
_DESCRIPTORS = 7
_FIRST_FREE = 64
"""Received descriptors are moved up here, so that laying out the low ones overwrites none."""
_STAGE_OPTIONS = "size=1m,mode=0755,nr_inodes=4096"


def serve(door: socket.socket) -> None:
    """Start what is asked for until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    gc.freeze()
    while (request := _receive(door)) is not None:
        kind, received = request
        if kind == b"e" and len(received) == enter.DESCRIPTORS:
            _fork_twice(received, enter.become)
        elif kind == b"s" and len(received) == _DESCRIPTORS:
            _fork_twice(received, _become)
        for descriptor in received:
            os.close(descriptor)


def _receive(door: socket.socket) -> tuple[bytes, list[int]] | None:
    """What is asked next, and its descriptors; None when the door is closed."""
    space = socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, _, _ = door.recvmsg(16, space, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    received = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    return data, list(received)


def _fork_twice(received: list[int], become: Callable[[list[int]], NoReturn]) -> None:
    try:
        middle = os.fork()
    except OSError as error:
        _tell(received[1], {"error": f"fork: {error.strerror}"})
        return
    if middle == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                become(received)
        finally:
            os._exit(0)
    os.waitpid(middle, 0)


def _become(received: list[int]) -> NoReturn:
    """Turn this process into bubblewrap, or say why it cannot."""
    report = received[1]
    try:
        received = [_moved_up(descriptor) for descriptor in received]
        report = received[1]
        _introduce(report, received[2])
        plan = _read_plan(received[0])
        _prepare(plan, received[2])
        _lay_out(plan, received)
        report = REPORT_FD
        command = ["bwrap", "--args", str(ARGUMENTS_FD), *plan["command"]]
        os.execve(plan["bubblewrap"], command, {})  # noqa: S606
    except BaseException as error:  # whatever it is, it must be told, and is the end
        _tell(report, {"error": _reason(error)})
    os._exit(1)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if not error.filename else f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {error}"


def _moved_up(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)


def _introduce(report: int, status: int) -> None:
    """Say who we are, to the sender and for good: exec changes neither pid nor start time."""
    pid = os.getpid()
    me = {"pid": pid, "start": linux.start_time(pid)}
    _tell(report, me)
    _tell(status, {"outer": pid, "outer-start": me["start"], "boot-id": linux.boot_id()})


def _tell(descriptor: int, what: dict[str, Any]) -> None:
    try:
        os.write(descriptor, json.dumps(what).encode() + b"\n")
    except OSError:
        return  # nobody listens any more: control was killed meanwhile


def _read_plan(descriptor: int) -> dict[str, Any]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        plan: dict[str, Any] = json.load(file)
    return plan


def _prepare(plan: dict[str, Any], status: int) -> None:
    """Make its network, mount what bubblewrap shall find, and become the app's uid."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    _limit(resource.RLIMIT_NOFILE, plan["open_files"])
    _limit(resource.RLIMIT_CORE, 0)
    linux.write("/proc/self/oom_score_adj", linux.OOM_SCORE)
    if plan["wires"] and (helper := wires.make(plan["wires"])):
        _tell(status, {"network": helper, "network-start": linux.start_time(helper)})
    if plan["staging"] == "none":
        if plan["lower"]:
            os.makedirs(plan["copy_to"], exist_ok=True)
            _copy(plan["lower"] + "/.", plan["copy_to"])
    else:
        _stage(plan)
    os.chdir("/")
    if plan["uid"] is not None:
        uid = int(plan["uid"])
        if uid <= 0:
            raise PermissionError(1, "a sandbox never runs as root")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def _limit(which: int, wanted: int) -> None:
    """Set a limit to `wanted`, or as near as an ordinary user may."""
    try:
        resource.setrlimit(which, (wanted, wanted))
    except (OSError, ValueError):
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (min(wanted, hard), hard))


def _stage(plan: dict[str, Any]) -> None:
    """Put sources below STAGE in a mount namespace of our own.

    They may lie where the app's uid cannot walk, and below STAGE itself: so each is opened
    first, in the new namespace (one of another's mounts cannot be bound), and mounted by
    descriptor, which also spares us escaping `:` and `,` for overlayfs.
    """
    own_user_namespace = plan["staging"] == "userns"
    if own_user_namespace and not plan["wires"]:
        linux.enter_user_namespace(linux.CLONE_NEWNS)
    else:  # with a network, one that may mount has been entered
        linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    sources = [_open_source(source) for source in plan["binds"]]
    lower = _open_source(plan["lower"]) if plan["lower"] else None
    linux.mount("tmpfs", STAGE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, _STAGE_OPTIONS)
    for i, source in enumerate(sources):
        _bind(source, f"{STAGE}/b{i}")
    if lower is not None:
        size = int(plan["lower_bytes"])
        _writable(lower, size, overlays=plan["overlays"], user=own_user_namespace)


def _open_source(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _bind(source: int, target: str) -> None:
    if stat.S_ISDIR(os.fstat(source).st_mode):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    linux.mount(f"/proc/self/fd/{source}", target, flags=linux.MS_BIND | linux.MS_REC)


def _writable(lower: int, size_bytes: int, *, overlays: bool, user: bool) -> None:
    """STAGE/app: `lower`, writable up to `size_bytes`."""
    room, app = f"{STAGE}/rw", f"{STAGE}/app"
    flags = linux.MS_NOSUID | linux.MS_NODEV
    inodes = max(16_384, size_bytes // 8192)
    for place in (room, app):
        os.mkdir(place)
    options = f"size={size_bytes},mode=0755,nr_inodes={inodes}"
    linux.mount("tmpfs", room if overlays else app, "tmpfs", flags, options)
    if not overlays:
        os.set_inheritable(lower, True)  # until `_lay_out` closes it: `cp` reads through it
        _copy(f"/proc/self/fd/{lower}/.", app)
        return
    upper, work = f"{room}/upper", f"{room}/work"
    os.mkdir(upper)
    os.mkdir(work)
    owner = os.fstat(lower)
    os.chmod(upper, stat.S_IMODE(owner.st_mode))
    if not user:
        os.chown(upper, owner.st_uid, owner.st_gid)
    how = f"lowerdir=/proc/self/fd/{lower},upperdir={upper},workdir={work}"
    linux.mount("overlay", app, "overlay", flags, how + (",userxattr" if user else ""))


def _copy(source: str, target: str) -> None:
    """A plain copy (shared blocks where the file system can)."""
    command = ["/bin/cp", "-a", "--reflink=auto", "--", source, target]
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(command[0], command)  # noqa: S606
        finally:
            os._exit(127)
    _, outcome = os.waitpid(pid, 0)
    if outcome != 0:
        raise OSError(5, "the app's files could not be copied (is there room?)")


def _lay_out(plan: dict[str, Any], received: list[int]) -> None:
    """Give the low descriptors their meaning and close all others."""
    _, report, status, stdin, stdout, stderr, gate = received
    arguments = "\0".join((*plan["arguments"], "")).encode("utf-8", "surrogateescape")
    wanted = {0: stdin, 1: stdout, 2: stderr, STATUS_FD: status, REPORT_FD: report, GATE_FD: gate}
    wanted[ARGUMENTS_FD] = _in_memory(arguments)
    for number, text in plan["files"]:
        wanted[int(number)] = _in_memory(str(text).encode())
    for number, source in plan["copies"]:
        wanted[int(number)] = _open_copied(str(source))
    if plan["seccomp"]:
        wanted[max(wanted) + 1] = _in_memory(bytes.fromhex(plan["seccomp"]))
    for number, source in wanted.items():
        os.dup2(source, number, inheritable=True)
    linux.close_from(max(wanted) + 1)


def _open_copied(path: str) -> int:
    """What may have gone since it was looked up must not keep a program from starting."""
    try:
        return _moved_up(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError:
        return _in_memory(b"")


def _in_memory(content: bytes) -> int:
    descriptor = _moved_up(os.memfd_create("oriel", os.MFD_CLOEXEC))
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def try_out(trial: str) -> None:
    """Do what starting a sandbox does, up to bubblewrap; the error says what is forbidden."""
    if trial in wires.TRIALS:
        wires.TRIALS[trial]()
        return
    plan = {"staging": trial.removesuffix("-overlay"), "overlays": True, "binds": ["/usr"]}
    plan["wires"] = None
    lower = "/usr" if trial.endswith("-overlay") else None
    _stage({**plan, "lower": lower, "lower_bytes": 1 << 20})


def main() -> None:
    """Serve the socket whose descriptor is the one argument, or try out what is allowed."""
    if sys.argv[1] == "--try":
        try:
            try_out(sys.argv[2])
        except OSError as error:
            sys.exit(_reason(error))
        return
    with socket.socket(fileno=int(sys.argv[1])) as door:
        serve(door)


if __name__ == "__main__":
    main()
