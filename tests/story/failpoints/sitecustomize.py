"""Failpoints for the kill stories: control kills itself at a named step, once.

Put on PYTHONPATH by test_kills alone. The file that ORIEL_TEST_KILL_AT names holds the step;
it is removed before the kill, so that the next start goes on.
"""

import os
import signal
import sys

_FILE = os.environ.get("ORIEL_TEST_KILL_AT", "")


def _due(step):
    try:
        with open(_FILE) as wish:
            if wish.read().strip() != step:
                return False
        os.unlink(_FILE)
    except OSError:
        return False
    return True


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _around(owner, name, step):
    """Kill before `step`'s function runs (step `before X`) or when it has returned (`after X`)."""
    original = getattr(owner, name)
    import inspect

    if inspect.iscoroutinefunction(original):

        async def wrapped(*args, **kwargs):
            if _due(f"before {step}"):
                _die()
            answer = await original(*args, **kwargs)
            if _due(f"after {step}"):
                _die()
            return answer
    else:

        def wrapped(*args, **kwargs):
            if _due(f"before {step}"):
                _die()
            answer = original(*args, **kwargs)
            if _due(f"after {step}"):
                _die()
            return answer

    setattr(owner, name, wrapped)


def _arm():
    from oriel.control import running
    from oriel.ledger import acts, releases
    from oriel.logplex.client import Logplex
    from oriel.manifold import Conductor
    from oriel.store import outbox

    _around(acts, "append", "act")
    _around(releases, "append", "release")
    _around(running, "apply", "restart")
    _around(Conductor, "wish", "wish")
    _around(Logplex, "append", "append")
    _around(outbox, "delivered", "delivered")


if _FILE and any(arg.endswith("oriel.house.control") for arg in getattr(sys, "orig_argv", [])):
    _arm()
