from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.builder.requirements import Reading, read


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("flask==3.0\ngunicorn>=21 ; python_version > '3.8'\n", Reading()),
        ("-r base.txt\n-c constraints/c.txt\n", Reading(("base.txt", "constraints/c.txt"))),
        ("--requirement=base.txt", Reading(("base.txt",))),
        ("-rbase.txt", Reading(("base.txt",))),
        ("# -r no.txt\nflask # -r no.txt\n", Reading()),
        ("flask \\\n  --hash=sha256:ab \\\n  --hash=sha256:cd\n", Reading()),
        ("--index-url https://mirror/simple\n--no-binary :all:\n", Reading()),
        ("-e .", Reading(local=True)),
        ("-e git+https://h/x.git#egg=x", Reading()),
        (".", Reading(local=True)),
        ("./lib", Reading(local=True)),
        ("vendor/x-1.0-py3-none-any.whl", Reading(local=True)),
        ("x.whl", Reading(local=True)),
        ("lib @ file:///app/lib", Reading(local=True)),
        ("lib @ ./lib", Reading(local=True)),
        ("lib @ git+https://h/x.git@v1", Reading()),
        ("https://h/x-1.0.tar.gz", Reading()),
        ("-f ./wheels", Reading(local=True)),
        ("-r https://h/r.txt", Reading(local=True)),
        ("-r ../outside.txt", Reading(local=True)),
        ("-r /etc/passwd", Reading(local=True)),
    ],
)
def test_reads(text: str, reading: Reading) -> None:
    assert read("requirements.txt", text) == reading


def test_an_include_is_relative_to_its_own_file() -> None:
    assert read("req/web.txt", "-r base.txt\n-r ../top.txt").includes == ("req/base.txt", "top.txt")


@given(st.text(max_size=80) | st.text(alphabet="-rec .=/#\\\n@:git+", max_size=40))
def test_any_text_is_read(text: str) -> None:
    for place in read("requirements.txt", text).includes:
        assert not place.startswith("/")
        assert ".." not in place.split("/")
