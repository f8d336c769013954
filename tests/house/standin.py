"""A stand-in for one process of the platform: does what `oriel up` expects of it, no more.

Runs without Oriel (`python -I -S`), so that it starts in a few milliseconds.
`standin.py NAME --data DIR [--router-fd N]`. A file DIR/NAME.breaks makes it fail at once.
"""

import array
import json
import os
import shutil
import signal
import socket
import sys


def _leave(*_):
    sys.exit(0)


def _stop_dynos(*_):
    dynos = os.path.join(DATA, "dynos")
    for name in os.listdir(dynos):
        shutil.rmtree(os.path.join(dynos, name))
    sys.exit(0)


def _logplex(router):
    path = os.path.join(DATA, "run", "logplex.sock")
    if os.path.exists(path):
        os.unlink(path)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(path)
    door.listen(4)
    _note("logplex")
    while True:
        visitor, _ = door.accept()
        with visitor:
            if b"router-socket" in visitor.recv(4096):
                handed = array.array("i", [router])
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)]
                visitor.sendmsg([b'{"ok": true}\n'], rights)


def _note(name, pid=None):
    with open(os.path.join(DATA, "started"), "a") as notes:
        notes.write(f"{name} {pid or os.getpid()}\n")


def main():
    name = sys.argv[1]
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGUSR1, _stop_dynos if name == "control" else _leave)
    if os.path.exists(os.path.join(DATA, f"{name}.breaks")):
        sys.exit(f"{name} found something broken")
    if name == "logplex":
        _logplex(int(sys.argv[sys.argv.index("--router-fd") + 1]))
    if os.path.exists(os.path.join(DATA, f"{name}.forks")):
        # A child that outlives its parent, as a dyno's monitor outlives what started it.
        orphan = os.fork()
        if orphan == 0:
            while True:
                signal.pause()
        _note("orphan", orphan)
    _note(name)
    if name == "control":
        ready = os.path.join(DATA, "run", "control.ready")
        with open(ready + ".new", "w") as file:
            file.write(json.dumps({"pid": os.getpid()}))
        os.replace(ready + ".new", ready)
    while True:
        signal.pause()


DATA = sys.argv[sys.argv.index("--data") + 1]
main()
