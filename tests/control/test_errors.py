"""Codes of a log, summed up."""

from __future__ import annotations

from oriel.control import errors
from oriel.logplex.holding import told

LINE = (
    'sock=client at=warning code=H27 desc="Client Request Interrupted" method=GET path="{path}"'
    ' host=a.localhost request_id=x fwd="1.2.3.4" dyno={dyno} connect=0ms service=1ms status=499'
    " bytes=0 protocol=http1.1 tls=false"
)


def line(time: str, ps: str, text: str) -> dict[str, str]:
    return {"time": time, "ps": ps, "text": text}


def test_codes_are_counted_with_first_last_dynos_and_a_path() -> None:
    troubles: dict[str, errors.Trouble] = {}
    errors.add(
        troubles,
        [
            line("t1", "router", LINE.format(path="/a", dyno="web.1")),
            line("t2", "router", LINE.format(path="/code=H12", dyno="web.2")),
            line("t3", "router", LINE.format(path="/b", dyno="web.2")),
            line("t3", "router", 'at=info method=GET path="/ code=H10 desc=x"'),
            line("t4", "web.1", "Error R14 (Memory quota exceeded)"),
            line("t5", "logplex", told(3, 0, "the disk took nothing")),
            line("t6", "api", "Config add Error R99 (x) by ned"),
        ],
    )
    h27, r14, l12 = (troubles[code] for code in ("H27", "R14", "L12"))
    assert set(troubles) == {"H27", "R14", "L12"}
    assert (h27.count, h27.first, h27.last, h27.path) == (3, "t1", "t3", "/b")
    assert h27.description == "Client Request Interrupted"
    assert dict(h27.dynos) == {"web.1": 1, "web.2": 2}
    assert l12.description == "Local buffer overflow"
    assert (dict(r14.dynos), r14.path, dict(l12.dynos)) == ({"web.1": 1}, "", {})


def test_only_so_many_dynos_are_named() -> None:
    troubles: dict[str, errors.Trouble] = {}
    lines = [line("t", f"worker.{n}", "Error R12 (Exit timeout)") for n in range(50)]
    errors.add(troubles, lines)
    assert troubles["R12"].count == 50
    assert len(troubles["R12"].dynos) == errors.DYNOS_MAX
