"""`oriel up` or `oriel down` with stand-ins for the platform's processes.

`python -m tests.house.standin_up up|down|dynos DATA API WEB`
"""

import os
import sys
from pathlib import Path

from oriel import faults
from oriel.clock import SystemClock
from oriel.house.layout import Layout
from oriel.house.programs import Commands
from oriel.house.settings import Flags
from oriel.house.up import Surroundings, down, say_on_stderr, up

STANDIN = Path(__file__).with_name("standin.py")


def commands(layout: Layout) -> Commands:
    def argv(name: str) -> tuple[str, ...]:
        start = (sys.executable, "-I", "-S", str(STANDIN), name)
        return (*start, "--data", str(layout.data))

    return Commands(argv("logplex"), argv("control"), argv("haproxy"))


def main() -> int:
    what, data, api, web = sys.argv[1:]
    outside = Surroundings(os.environ, SystemClock(), say_on_stderr, commands)
    try:
        if what == "up":
            return up(Path(data), Flags(api=api, web=web), outside)
        return down(Path(data), dynos=what == "dynos", outside=outside)
    except faults.Fault as fault:
        say_on_stderr(f" ! {fault.message} {fault.hint}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
