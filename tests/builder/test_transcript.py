from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.builder.transcript import MASK, Masks, Transcript, refusal
from oriel.faults import Invalid, Unavailable


def told(tmp_path: Path, pieces: list[str], secrets: list[str], **more: int) -> tuple[str, str]:
    """What the pusher saw, and what the file holds."""
    seen: list[str] = []

    async def say(text: str) -> None:
        seen.append(text)

    async def main() -> None:
        transcript = Transcript(tmp_path / "x.log", say, secrets, **more)
        for piece in pieces:
            await transcript.write(piece)
        await transcript.flush()
        await transcript.close()
        await transcript.close()

    asyncio.run(main())
    return "".join(seen), (tmp_path / "x.log").read_text()


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("hunter22", "password hunter22!", f"password {MASK}!"),
        ("prod", "in prod, product", f"in {MASK}, product"),
        ("on", "on and on", "on and on"),
        ("a b/c", "a%20b%2Fc a b/c", f"{MASK} {MASK}"),
        ("postgres://u:s3cr%2Ft@h/db", "auth s3cr/t or s3cr%2Ft", f"auth {MASK} or {MASK}"),
        ('say "hi"', '{"k": "say \\"hi\\""}', f'{{"k": "{MASK}"}}'),
        ("-----BEGIN\nMIIEvQIBADANBg\n", "x MIIEvQIBADANBg y", f"x {MASK} y"),
        ("  padded-value\n", "padded-value", MASK),
    ],
)
def test_masks(secret: str, text: str, shown: str) -> None:
    assert Masks([secret]).strike(text) == shown


def test_a_longer_secret_is_struck_before_one_that_it_holds() -> None:
    assert Masks(["tokentoken", "tokentoken-long"]).strike("tokentoken-long") == MASK


def test_a_secret_cut_by_a_read_is_masked_and_lines_come_whole(tmp_path: Path) -> None:
    seen, kept = told(tmp_path, ["one hun", "ter22\ntw", "o\nlast"], ["hunter22"])
    assert seen == kept == f"one {MASK}\ntwo\nlast\n"


def test_control_characters_are_taken_out(tmp_path: Path) -> None:
    seen, _ = told(tmp_path, ["\x1b[31mred\x1b[0m\x07 10%\r20%\r\nend\n"], [])
    assert seen == "red 10%\n20%\nend\n"


def test_is_bounded_and_says_so(tmp_path: Path) -> None:
    seen, kept = told(tmp_path, ["12345\n", "67890\n", "x\n"], [], size_bytes_max=8)
    assert seen == "12345\n"
    assert kept == "12345\n !     8B more output was not kept.\n"


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    seen, _ = told(tmp_path, ["x" * 50_000, "x" * 50_000, "x\nnext\n"], [])
    assert seen == "x" * 65536 + " [line cut]\nnext\n"


def test_a_pusher_who_is_gone_is_told_of_once_and_the_file_goes_on(tmp_path: Path) -> None:
    async def say(text: str) -> None:
        raise Unavailable("gone")

    async def main() -> None:
        transcript = Transcript(tmp_path / "x.log", say, [])
        with pytest.raises(Unavailable):
            await transcript.write("one\n")
        await transcript.refuse(Invalid("why"))
        await transcript.close()

    asyncio.run(main())
    assert (tmp_path / "x.log").read_text() == "one\n !     why\n"


def test_a_fault_is_shown_as_heroku_does() -> None:
    fault = Invalid("First.\nSecond.", hint="Type this.")
    assert refusal(fault) == " !     First.\n !     Second.\n !     Type this.\n"


@given(
    secret=st.text(min_size=8, max_size=20, alphabet="abc$.*[](\\é "),
    before=st.text(max_size=20),
    cut=st.integers(0, 60),
)
def test_no_cut_lets_a_secret_through(
    tmp_path_factory: pytest.TempPathFactory, secret: str, before: str, cut: int
) -> None:
    if len(secret.strip()) < 4:
        return
    text = before + secret + "\n"
    seen, kept = told(tmp_path_factory.mktemp("t"), [text[:cut], text[cut:]], [secret])
    assert seen == kept
    assert secret.strip() not in seen or secret.strip() in MASK
