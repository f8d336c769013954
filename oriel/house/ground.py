"""Owns what `oriel doctor` says of what apps stand on: kernel, programs, sandboxes, their network.

Pure, as `doctor` is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from oriel.house.findings import Finding, numbers, sudo
from oriel.house.preflight import PROGRAMS
from oriel.house.probes import Machine
from oriel.house.settings import NO_ISOLATION

LEAST_VERSIONS = {"bwrap": (0, 8), "haproxy": (2, 6, 5), "git": (2, 30)}
"""bubblewrap 0.8 has --disable-userns. HAProxy 2.6 adds servers at run time without
`experimental-mode`, 2.6.5 has the converter `host_only`; it logs and answers by rules of 2.5
(`set-var-fmt`) and older."""

LEAST_KERNEL = (5, 6)
"""pidfd_open is of 5.3, pidfd_getfd of 5.6."""

LEAST_PYTHON_MINOR = 8


def judge(machine: Machine) -> Iterator[Finding]:
    """What apps stand on, in reading order."""
    yield _kernel(machine)
    yield from _programs(machine)
    yield _interpreters(machine)
    yield _user_namespaces(machine)
    yield _isolation(machine)
    yield _overlay(machine)
    yield _cgroups(machine)
    yield _network(machine)
    yield from _docker(machine)


def _kernel(machine: Machine) -> Finding:
    if numbers(machine.kernel) < LEAST_KERNEL or not machine.pidfd:
        return Finding(
            "kernel",
            "fail",
            f"Linux {machine.kernel} lacks what Oriel needs (pidfd, of 5.6).",
            f"Type: {sudo(machine)}apt-get dist-upgrade, then start the machine again.",
        )
    if "overlay" not in machine.filesystems and not machine.overlay:
        return Finding(
            "kernel",
            "warn",
            f"Linux {machine.kernel}; overlayfs is not loaded.",
            f"Type: {sudo(machine)}modprobe overlay",
        )
    return Finding("kernel", "ok", f"Linux {machine.kernel}.")


def _programs(machine: Machine) -> Iterator[Finding]:
    for name, package in PROGRAMS.items():
        version = machine.programs.get(name)
        install = f"Type: {sudo(machine)}apt-get install {package}"
        newer = f"{install} (Debian 12 and Ubuntu 24.04 have one that is new enough)"
        least = LEAST_VERSIONS[name]
        wanted = ".".join(str(part) for part in least)
        if version is None:
            yield Finding(package, "fail", f"{package} is not installed.", install)
        elif not version:
            yield Finding(package, "warn", f"{package} does not tell its version.", install)
        elif numbers(version) < least:
            said = f"{package} {version} is too old; {wanted} is needed."
            yield Finding(package, "fail", said, newer)
        else:
            yield Finding(package, "ok", f"{package} {version}.")


def _interpreters(machine: Machine) -> Finding:
    fit = [name for name in machine.interpreters if int(name[8:]) >= LEAST_PYTHON_MINOR]
    own = ".".join(str(part) for part in sys.version_info[:3])
    if fit:
        return Finding("python", "ok", f"Oriel runs on {own}; apps can have {', '.join(fit)}.")
    return Finding(
        "python",
        "warn",
        f"Oriel runs on {own}, but apps can use no Python: there is none in /usr/bin.",
        f"Type: {sudo(machine)}apt-get install python3 python3-venv",
    )


def _user_namespaces(machine: Machine) -> Finding:
    name = "user namespaces"
    if machine.user_namespaces:
        return Finding(name, "ok", "Sandboxes can be made.")
    if machine.programs.get("bwrap") is None:
        return Finding(
            name,
            "fail",
            "Not tried: bubblewrap is missing.",
            f"Type: {sudo(machine)}apt-get install bubblewrap",
        )
    for sysctl, forbids, value in (
        ("kernel/apparmor_restrict_unprivileged_userns", 1, 0),
        ("kernel/unprivileged_userns_clone", 0, 1),
        ("user/max_user_namespaces", 0, 15000),
    ):
        if machine.sysctls.get(sysctl) == forbids:
            dotted = sysctl.replace("/", ".")
            by = "AppArmor forbids" if "apparmor" in sysctl else "The kernel's settings forbid"
            return Finding(
                name,
                "fail",
                f"{by} user namespaces ({dotted} = {forbids}), so bubblewrap cannot start.",
                f"Type: echo '{dotted} = {value}' | {sudo(machine)}tee "
                f"/etc/sysctl.d/60-oriel.conf && {sudo(machine)}sysctl --system",
            )
    why = " ".join(machine.sandbox_why) or "bubblewrap does not start."
    return Finding(
        name,
        "fail",
        f"Sandboxes cannot be made: {why}",
        "In a container, allow it nested user namespaces and mounts (for Docker: "
        "--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
        "--cap-add SYS_ADMIN).",
    )


def _isolation(machine: Machine) -> Finding:
    if machine.isolation == NO_ISOLATION:
        return Finding(
            "isolation",
            "warn",
            "--isolation none: every app can do what its user can, and nothing limits it.",
            f"Type: {sudo(machine)}oriel up --isolation bubblewrap",
        )
    if machine.root and machine.staging == "root":
        return Finding("isolation", "ok", "As root: each app has a user of its own.")
    if machine.root:
        return Finding(
            "isolation",
            "fail",
            " ".join(("root may not mount here, so no app can be isolated.", *machine.sandbox_why)),
            "Give the container CAP_SYS_ADMIN, or run Oriel outside of it.",
        )
    return Finding(
        "isolation",
        "warn",
        "Not root: all apps run as your user; their files and processes are hidden from each "
        "other by bubblewrap alone.",
        "Type: sudo oriel up (for apps of people who do not trust each other)",
    )


def _overlay(machine: Machine) -> Finding:
    if machine.overlay:
        return Finding("overlay", "ok", "An app's files are an overlay: a dyno starts at once.")
    why = " ".join(machine.sandbox_why)
    return Finding(
        "overlay",
        "warn",
        f"No overlay: each dyno gets a copy of its slug, and starts more slowly. {why}".rstrip(),
        f"Type: {sudo(machine)}modprobe overlay; then oriel doctor again.",
    )


def _cgroups(machine: Machine) -> Finding:
    if not machine.cgroups:
        return Finding(
            "cgroups",
            "warn",
            "There are no cgroups: a dyno's memory can be measured, not limited.",
            "Type: mount | grep cgroup, to see what the machine has.",
        )
    if not machine.cgroup_writable:
        return Finding(
            "cgroups",
            "warn",
            f"cgroups {machine.cgroups}, not writable here: a dyno's memory is measured, not "
            "limited.",
            "Type: systemd-run --user --scope -p Delegate=yes oriel up",
        )
    return Finding("cgroups", "ok", f"cgroups {machine.cgroups}, writable: dynos have hard limits.")


def _network(machine: Machine) -> Finding:
    if machine.network:
        return Finding(
            "network",
            "ok",
            "Each dyno has a network of its own: it reaches the internet, and neither other dynos "
            "nor this machine."
            + ("" if machine.root else " Each user of this machine reaches a dyno's port."),
        )
    shared = (
        f"Dynos share this machine's network ({machine.network_why}): they reach what listens on "
        "its loopback, other apps too."
    )
    if "not installed" in machine.network_why:
        package = "nftables" if "nftables" in machine.network_why else "passt"
        fix = f"Type: {sudo(machine)}apt-get install {package}"
    elif "/dev/net/tun" in machine.network_why:
        fix = "Type: sudo chmod 666 /dev/net/tun; or sudo oriel up."
    elif not machine.root:
        fix = "Type: sudo oriel up; or run only apps whose authors you trust."
    else:
        fix = "In a container, allow it CAP_NET_ADMIN and veth devices."
    return Finding("network", "warn", shared, fix)


def _docker(machine: Machine) -> Iterator[Finding]:
    """A Docker engine sets FORWARD to DROP: that cuts off dynos with networks of their own."""
    if machine.forward_policy == "DROP":
        yield Finding(
            "forwarding",
            "warn",
            "The firewall drops what is forwarded (a Docker engine sets that): dynos do not reach "
            "the internet.",
            f"Type: {sudo(machine)}iptables -I FORWARD -i 'or+' -j ACCEPT && {sudo(machine)}"
            "iptables -I FORWARD -o 'or+' -m state --state ESTABLISHED,RELATED -j ACCEPT",
        )
    elif machine.docker and machine.forward_policy is None:
        yield Finding(
            "forwarding",
            "warn",
            "There is a Docker engine; whether it drops what is forwarded is not known.",
            "Type: sudo iptables -S FORWARD, and look for `-P FORWARD DROP`.",
        )
