"""The docs say what the program does: nothing that a user can type or meet is left out.

Some parts are made from the program itself: what stands between `<!-- made: NAME -->` and
`<!-- end -->`. After a change on purpose, ORIEL_DOCS=1 writes them anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from oriel import faults
from oriel.api import faults as statuses
from oriel.api.app import DOORS, STREAMS
from oriel.cli import exits, main, table
from oriel.house import settings
from oriel.logplex.requests import CODES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
DECISIONS = DOCS / "decisions"

MADE = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
LINE_NUMBER = re.compile(r"\.(?:py|lua|md|cfg|toml)(?::\d|#L\d)|\blines? \d+ of `", re.IGNORECASE)
GIT_PATHS = ("/{app}.git/info/refs", "/{app}.git/git-upload-pack", "/{app}.git/git-receive-pack")


@cache
def text(page: Path) -> str:
    return page.read_text("utf-8")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


# What is made.


def cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


def code(words: str) -> str:
    return f"`{cell(words)}`"


def first_line(doc: str | None) -> str:
    return (doc or "").strip().split("\n\n")[0]


def aliases_of(name: str) -> list[str]:
    return [alias for alias, target in table.ALIASES.items() if target == name]


def command_of(name: str) -> tuple[click.Command, click.Context]:
    found = table.find(name)
    assert found is not None
    command = main.load(found[0])
    parent = click.Context(main.commands(), info_name="oriel")
    return command, click.Context(command, info_name=name, parent=parent)


def described(name: str) -> Iterator[str]:
    """One command: its help, its other names, its form, its options, its examples."""
    command, context = command_of(name)
    yield f"### `oriel {name}`\n"
    for paragraph in (command.help or "").split("\n\n"):
        yield " ".join(paragraph.split()) + "\n"
    others = aliases_of(name)
    if others:
        yield f"Also: {', '.join(f'`oriel {each}`' for each in others)}.\n"
    usage = " ".join(command.get_usage(context).split()).removeprefix("Usage: ")
    yield f"    {usage}\n"
    records = [
        record
        for parameter in command.params
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    if records:
        yield "| option | |\n| --- | --- |"
        yield "".join(f"| {code(form)} | {cell(help_)} |\n" for form, help_ in records)
    examples = (command.epilog or "").partition("Example:\n")[2]
    if examples:
        yield "Example:\n\n" + "\n".join(f"  {line}" for line in examples.splitlines()) + "\n"


def made_commands() -> str:
    parts: list[str] = []
    for title, section in table.COMMANDS.items():
        parts.append(f"## {title}\n")
        for name in section:
            parts += described(name)
    parts.append("## For git\n")
    for name in table.HIDDEN:
        parts += described(name)
    return "\n".join(parts)


def made_overview() -> str:
    rows = [
        f"| {title if not place else ''} | [`oriel {name}`](#oriel-{name.replace(':', '')}) "
        f"| {', '.join(map(code, aliases_of(name)))} | {cell(line)} |\n"
        for title, section in table.COMMANDS.items()
        for place, (name, (_, line)) in enumerate(section.items())
    ]
    return "| | command | also | |\n| --- | --- | --- | --- |\n" + "".join(rows)


def made_routes() -> str:
    rows = [
        (door.path, door.method, first_line(door.handler.__doc__) or "", door.open)
        for door in DOORS
    ]
    told = [
        f"| `{method} {path}` | {cell(line)}{' No token needed.' if open_ else ''} |\n"
        for path, method, line, open_ in rows
    ]
    return "| call | |\n| --- | --- |\n" + "".join(told)


def every_fault() -> list[type[faults.Fault]]:
    """The tree of refusals with `api`'s own, parents first."""
    server_side = ("oriel.faults", "oriel.api.faults")
    waiting, found = [faults.Fault], list[type[faults.Fault]]()
    while waiting:
        each = waiting.pop(0)
        waiting += each.__subclasses__()
        if each.__module__ in server_side:
            found.append(each)
    return found


def made_faults() -> str:
    rows = "".join(
        f"| `{each.id}` | {statuses.status_of(each)} | {exits.code_of(each.id)} "
        f"| {cell(first_line(each.__doc__))} |\n"
        for each in every_fault()
        if each is not faults.Fault
    )
    return "| id | status | exit code of `oriel` | |\n| --- | --- | --- | --- |\n" + rows


MAKERS = {
    "overview": made_overview,
    "commands": made_commands,
    "routes": made_routes,
    "faults": made_faults,
}


@pytest.mark.parametrize("page", names(PAGES))
def test_what_is_made_is_as_the_program_has_it(page: str) -> None:
    path = ROOT / page
    before = path.read_text("utf-8")
    after = MADE.sub(lambda part: f"{part[1]}\n{MAKERS[part[2]]().strip()}\n\n{part[3]}", before)
    if os.environ.get("ORIEL_DOCS"):
        path.write_text(after, "utf-8")
        text.cache_clear()
        return
    assert before == after, "Write it anew: ORIEL_DOCS=1 pytest tests/test_docs.py"


def test_everything_that_can_be_made_stands_somewhere() -> None:
    assert {part[1] for page in PAGES for part in MADE.findall(text(page))} == set(MAKERS)


# What people wrote.


def test_every_command_and_alias_is_documented() -> None:
    page = text(DOCS / "commands.md")
    assert [name for name in table.names() if f"`oriel {name}`" not in page] == []


def test_no_doc_names_a_command_that_is_not_there() -> None:
    known = {*table.names(), *table.HIDDEN}
    wrong = [
        (page.name, found)
        for page in PAGES
        if page.name != "moving-in.md"
        for found in re.findall(r"(?<!push )(?<![\w./-])oriel ([a-z]+:[a-z-]+)", text(page))
        if found not in known
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ["up", "down", "doctor"])
def test_every_option_of_the_server_is_in_settings(name: str) -> None:
    command, _ = command_of(name)
    page = text(DOCS / "settings.md")
    options = [o for p in command.params if isinstance(p, click.Option) for o in p.opts]
    assert options
    assert [each for each in options if f"`{each}" not in page] == []


def test_every_setting_that_is_kept_is_in_settings() -> None:
    page = text(DOCS / "settings.md")
    kept = [each for each in settings.Settings.__dataclass_fields__ if f"`{each}`" not in page]
    assert kept == []
    for default in (settings.DEFAULT_API, settings.DEFAULT_WEB):
        assert default in page


def test_every_exit_code_is_documented() -> None:
    page = text(DOCS / "commands.md")
    rows = {int(row[0]): row[1] for row in re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)}
    codes = {v for k, v in vars(exits).items() if k.isupper() and isinstance(v, int)}
    assert set(rows) == codes | set(exits.CODES.values())
    assert [id_ for id_, code_ in exits.CODES.items() if f"`{id_}`" not in rows[code_]] == []


def test_every_fault_is_documented() -> None:
    page = text(DOCS / "api.md")
    assert [each.id for each in every_fault() if f"`{each.id}`" not in page] == []


def test_every_path_of_the_api_is_documented() -> None:
    page = text(DOCS / "api.md")
    wanted = [f"`{door.method} {door.path}`" for door in DOORS]
    wanted += [f"`{path}`" for path in (*STREAMS, *GIT_PATHS)]
    assert [each for each in wanted if each not in page] == []


def environment_variables() -> set[str]:
    """Every variable of the environment that the program looks at, by the forms it does so in."""
    forms = re.compile(
        r'environ\.get\(\s*"(\w+)"|environ\["(\w+)"\]|"(\w+)" in os\.environ|envvar="(\w+)"'
    )
    return {
        "".join(found)
        for path in (ROOT / "oriel").rglob("*.py")
        for found in forms.findall(path.read_text("utf-8"))
    }


def test_every_environment_variable_is_documented() -> None:
    page = text(DOCS / "commands.md")
    found = environment_variables()
    assert {"ORIEL_API", "ORIEL_DATA", "COLUMNS", "XDG_DATA_HOME"} <= found
    assert [each for each in sorted(found) if f"`{each}`" not in page] == []


def router_codes() -> set[str]:
    return set(CODES)


def test_every_code_of_the_logs_is_documented_and_no_other_is_promised() -> None:
    page = text(DOCS / "logs.md")
    machine = (ROOT / "oriel/manifold/machine.py").read_text("utf-8")
    there = router_codes() | set(re.findall(r"Error (R\d\d)", machine))
    rows = set(re.findall(r"^\| ([HRL]\d\d) \|", page, re.MULTILINE))
    assert rows == there
    assert set(re.findall(r"\b[HR]\d\d\b", page)) == there


# The docs among themselves.


def anchor_of(heading: str) -> str:
    plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return plain.strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor_of(found) for found in re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)}


@pytest.mark.parametrize("page", names(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for target in LINK.findall(text(here)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (here.parent / path).resolve() if path else here
        assert there.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page}: {target}"


def test_every_page_is_reached_from_the_first_one() -> None:
    reached, waiting = set[Path](), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for target in LINK.findall(text(page)):
            if "://" not in target and target.partition("#")[0]:
                waiting.append((page.parent / target.partition("#")[0]).resolve())
    assert [str(page) for page in sorted(DOCS.rglob("*.md")) if page not in reached] == []


@pytest.mark.parametrize("page", names(PAGES))
def test_no_doc_names_the_number_of_a_line(page: str) -> None:
    assert LINE_NUMBER.search(text(ROOT / page)) is None


@pytest.mark.parametrize("page", names(PAGES))
def test_files_of_the_repository_that_docs_name_are_there(page: str) -> None:
    """`oriel/cli/exits.py`, `tests/ledger`, `oriel/api`: what is moved is moved in the docs too."""
    found = re.findall(r"`((?:oriel|tests|docs|bench|examples)/[\w./-]+)`", text(ROOT / page))
    at_users = {"oriel/credentials.json"}
    gone = [each for each in found if each not in at_users and not (ROOT / each).exists()]
    assert gone == []


def test_decisions_are_numbered_without_gaps() -> None:
    files = sorted(DECISIONS.glob("*.md"))
    assert [int(path.name[:4]) for path in files] == list(range(1, len(files) + 1))
    for path in files:
        number = int(path.name[:4])
        assert text(path).startswith(f"# {number}. "), path.name


def test_the_changelog_has_this_version() -> None:
    from oriel import __version__

    assert f"## {__version__}" in text(ROOT / "CHANGELOG.md")


def test_the_docs_test_sees_what_is_missing() -> None:
    """The checks above are worth what these are: each must find what it looks for."""
    assert LINE_NUMBER.search("see `oriel/cli/main.py:12`")
    assert LINE_NUMBER.search("[here](../oriel/api/app.py#L3)")
    assert not LINE_NUMBER.search("Procfile:1 is a message, 127.0.0.1:5050 an address")
    assert anchor_of("`oriel ps:scale`") == "oriel-psscale"
    assert len(every_fault()) > 12
