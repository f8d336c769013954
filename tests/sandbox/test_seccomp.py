"""The filter of system calls, run by a small machine for the kernel's BPF."""

from __future__ import annotations

import errno
import struct

import pytest

from oriel.sandbox import seccomp
from oriel.sandbox.seccomp import ALLOW, KILL, MACHINES, Machine

EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
NO_FAMILY = 0x50000 | errno.EAFNOSUPPORT


def verdict(machine: Machine, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the kernel does with a call: BPF as in linux/filter.h."""
    packed = struct.pack(
        "<iI7Q",
        number,
        machine.audit if audit is None else audit,
        0,
        *((*arguments, 0, 0, 0, 0, 0, 0)[:6]),
    )
    program = seccomp.program(machine)
    lines = list(struct.iter_unpack("<HBBI", program))
    assert len(lines) < 4096
    register = here = 0
    while True:
        code, yes, no, value = lines[here]
        here += 1
        if code == 0x20:
            (register,) = struct.unpack_from("<I", packed, value)
        elif code == 0x06:
            return int(value)
        else:
            holds = {
                0x15: register == value,
                0x35: register >= value,
                0x45: bool(register & value),
            }[code]
            here += yes if holds else no


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def test_each_refused_call_is_refused(machine: Machine) -> None:
    for name in seccomp.REFUSED:
        if name in machine.numbers:
            assert verdict(machine, machine.numbers[name]) == EPERM, name
    for name in seccomp.ABSENT:
        assert verdict(machine, machine.numbers[name]) == ENOSYS, name


def test_every_other_call_is_allowed(machine: Machine) -> None:
    named = {number for name, number in machine.numbers.items() if name != "ioctl"}
    for number in set(range(470)) - named - {machine.numbers["socket"]}:
        assert verdict(machine, number) == ALLOW, number


@pytest.mark.parametrize("audit", [0, 0x40000003, 0x40000028, 0xC00000F3])
def test_another_kind_of_processor_is_the_end(machine: Machine, audit: int) -> None:
    assert verdict(machine, 1, audit=audit) == KILL


def test_x32_is_the_end() -> None:
    for number in (seccomp.X32, seccomp.X32 + 272, 0xFFFFFFFF - 2**32):
        assert verdict(seccomp.X86_64, number) == KILL


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (0x3D0F00, ALLOW),  # a thread
        (0x11, ALLOW),  # fork
        (0x4111, ALLOW),  # vfork
        (0x10000011, EPERM),
        (0x20000011, EPERM),
        (0x40000011, EPERM),
        (0x00020011, EPERM),
        (0x02000011, EPERM),
        (0x04000011, EPERM),
        (0x08000011, EPERM),
        (0x7_10000011, EPERM),  # what the kernel does not look at hides nothing
    ],
)
def test_clone_makes_processes_and_no_namespaces(machine: Machine, flags: int, answer: int) -> None:
    assert verdict(machine, machine.numbers["clone"], flags) == answer


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ((1, 1, 0), ALLOW),
        ((2, 1, 0), ALLOW),
        ((10, 2, 17), ALLOW),
        ((16, 3, 0), ALLOW),
        ((16, 3, 9), NO_FAMILY),
        ((16, 3, 12), NO_FAMILY),
        ((17, 3, 768), NO_FAMILY),
        ((38, 5, 0), NO_FAMILY),
        ((40, 1, 0), NO_FAMILY),
        ((0x1_00000002, 1, 0), ALLOW),  # the kernel takes it for AF_INET too
    ],
)
def test_sockets(machine: Machine, arguments: tuple[int, ...], answer: int) -> None:
    assert verdict(machine, machine.numbers["socket"], *arguments) == answer


def test_nothing_is_typed_into_a_terminal(machine: Machine) -> None:
    ioctl = machine.numbers["ioctl"]
    assert verdict(machine, ioctl, 0, 0x5412) == EPERM
    assert verdict(machine, ioctl, 0, 0x1_00005412) == EPERM
    assert verdict(machine, ioctl, 0, 0x5413) == ALLOW
