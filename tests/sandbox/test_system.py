"""What of the machine is shown."""

from __future__ import annotations

from pathlib import Path

from oriel.sandbox.system import COPIED_BYTES_MAX, System, look


def test_only_what_programs_need(tmp_path: Path) -> None:
    for place in ("usr/bin", "lib", "etc/ssl/certs", "etc/ssl/private", "etc/perl", "home/me"):
        (tmp_path / place).mkdir(parents=True)
    for name in ("hosts", "shadow", "passwd", "ssh_host_key", "timezone"):
        (tmp_path / "etc" / name).write_text("")
    (tmp_path / "etc" / "ld.so.cache").write_bytes(bytes(COPIED_BYTES_MAX + 1))
    (tmp_path / "bin").symlink_to("usr/bin")
    assert look(tmp_path) == System(
        shown=("/usr", "/lib", "/etc/hosts", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/perl"),
        copied=("/etc/timezone",),
        links=(("usr/bin", "/bin"),),
    )
