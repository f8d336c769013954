"""Owns the command lines of the platform's processes. Must not start them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from oriel.house.child import Program
from oriel.house.layout import Layout
from oriel.house.settings import Settings

ORDER = ("logplex", "control", "haproxy")
"""The order of starting; stopping goes the other way round."""


@dataclass(frozen=True, slots=True)
class Commands:
    """What is run for each process; tests put small stand-ins here."""

    logplex: tuple[str, ...]
    control: tuple[str, ...]
    haproxy: tuple[str, ...]


def real(layout: Layout) -> Commands:
    """The real processes. `-P`: what happens to lie in a directory is not imported."""
    python = (sys.executable, "-P", "-m")
    data = ("--data", str(layout.data))
    return Commands(
        logplex=(*python, "oriel.logplex.process", *data),
        control=(*python, "oriel.house.control", *data),
        haproxy=(
            "haproxy",
            "-W",
            "-dMglobal",
            "-S",
            f"{layout.haproxy_master_socket},mode,600",
            "-f",
            str(layout.haproxy_config),
        ),
    )


def programs(
    commands: Commands,
    layout: Layout,
    settings: Settings,
    environ: Mapping[str, str],
    router_fd: int,
) -> tuple[Program, ...]:
    """The processes in the order of their start."""
    return (
        Program(
            name="logplex",
            argv=(
                *commands.logplex,
                "--router-fd",
                str(router_fd),
                *[word for each in settings.allow_egress for word in ("--allow-egress", each)],
            ),
            started_with=" ".join(settings.allow_egress),
            environ=environ,
            pass_fds=(router_fd,),
            stop_signals=((signal.SIGTERM, 15.0),),
        ),
        Program(
            name="control",
            argv=commands.control,
            environ=environ,
            started_with=settings.digest(),
            low_ports=True,
            stop_signals=((signal.SIGTERM, 30.0),),
        ),
        Program(
            name="haproxy",
            argv=commands.haproxy,
            environ=environ,
            needs=layout.haproxy_config,
            low_ports=True,
            # First let the requests that are under way end, then close what stays open.
            stop_signals=((signal.SIGUSR1, 3.0), (signal.SIGTERM, 3.0)),
        ),
    )
