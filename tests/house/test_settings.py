"""What `oriel up` understands, keeps and refuses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from oriel import faults
from oriel.house import settings
from oriel.house.settings import Flags, Settings
from oriel.house.typed import address as parse_address

DATA = Path("/data")


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:5050", "127.0.0.1", 5050, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:5050", "::1", 5050, True),
        ("[::]:5050", "::", 5050, False),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        (":8080", "127.0.0.1", 8080, True),
        ("oriel.example.com:443", "oriel.example.com", 443, False),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_address(text, "--api")
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)
    assert parse_address(str(address), "--api") == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5050",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:٣",
        "::1:5050",
        "[::1]",
        "[127.0.0.1]:5050",
        "[]:5050",
        "a b:5050",
        "http://localhost:5050",
        "host/path:5050",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(faults.Invalid) as refused:
        parse_address(text, "--web")
    assert "--web" in refused.value.message
    assert "oriel up --web 127.0.0.1:5050" in refused.value.hint


@given(some.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text, "--api")
    except faults.Invalid:
        return
    assert parse_address(str(address), "--api") == address


def test_without_flags_it_listens_on_loopback() -> None:
    settled = settings.settle(Flags(), None, DATA)
    assert str(settled.api) == "127.0.0.1:5050"
    assert str(settled.web) == "127.0.0.1:8080"
    assert settled.database == "sqlite:////data/oriel.db"
    assert settled.api_url == "http://127.0.0.1:5050"
    assert settled.apps_url == "http://NAME.localhost:8080"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (Flags(api="0.0.0.0:5050"), "without TLS"),
        (Flags(api="[::]:5050"), "without TLS"),
        (Flags(api="example.com:5050"), "without TLS"),
        (Flags(tls_cert="/c.pem"), "belong together"),
        (Flags(tls_key="/k.pem"), "belong together"),
        (Flags(api="0.0.0.0:5050", tls_cert="/c.pem"), "belong together"),
        (Flags(domain="not a domain"), "not a domain name"),
        (Flags(domain="-x.example.com"), "not a domain name"),
        (Flags(domain="127.0.0.1"), "not a domain name"),
        (Flags(database="mysql://x/y"), "--database"),
        (Flags(database="oriel.db"), "--database"),
        (Flags(web="8080"), "--web"),
        (Flags(trust_proxy=("10.0.0.0/8", "proxy.example.com")), "proxy.example.com"),
        (Flags(trust_proxy=("10.0.0.0/33",)), "10.0.0.0/33"),
        (Flags(trust_proxy=("fe80::1%} or { always_true/64",)), "fe80::1%}"),
        (Flags(trust_proxy=("10.0.0.1 } or { src 0.0.0.0/0",)), "10.0.0.1 }"),
    ],
)
def test_bad_flags_are_one_sentence_and_what_to_type(flags: Flags, sentence: str) -> None:
    with pytest.raises(faults.Invalid) as refused:
        settings.settle(flags, None, DATA)
    assert sentence in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    "flags",
    [
        Flags(api="0.0.0.0:5050", insecure_http=True),
        Flags(api="0.0.0.0:5050", tls_cert="/c.pem", tls_key="/k.pem"),
        Flags(api="[::1]:5050"),
        Flags(web="0.0.0.0:80"),
    ],
)
def test_what_is_safe_or_asked_for_is_allowed(flags: Flags) -> None:
    settings.settle(flags, None, DATA)


def test_the_directory_remembers_but_insecure_http_must_be_said_each_time() -> None:
    first = settings.settle(
        Flags(api="0.0.0.0:5051", domain="apps.example.com", insecure_http=True), None, DATA
    )
    again = settings.settle(Flags(web="127.0.0.1:81", insecure_http=True), first, DATA)
    assert str(again.api) == "0.0.0.0:5051"
    assert again.apps_url == "http://NAME.apps.example.com:81"
    with pytest.raises(faults.Invalid, match="without TLS"):
        settings.settle(Flags(), first, DATA)
    assert settings.settle(Flags(domain="", insecure_http=True), first, DATA).domain is None


def test_kept_and_read_again_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    assert settings.load(path) is None
    kept = settings.settle(
        Flags(database="postgresql://u:p@h/d", tls_cert="c", tls_key="k"), None, tmp_path
    )
    settings.save(path, kept)
    assert settings.load(path) == kept
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept.tls_cert == str(Path.cwd() / "c")


def test_a_data_directory_can_be_moved(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    settings.save(old / "settings.json", settings.settle(Flags(), None, old))
    old.rename(new)
    kept = settings.load(new / "settings.json")
    assert kept is not None
    assert kept.database == f"sqlite:///{new}/oriel.db"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}', '{"version": 1, "api": 5}'])
def test_what_is_no_settings_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(faults.Invalid) as refused:
        settings.load(path)
    assert str(path) in refused.value.message


@given(some.text(max_size=200))
def test_any_text_is_settings_or_refused(text: str) -> None:
    with pytest.raises(faults.Invalid):
        Settings.from_json(text)


def test_a_password_is_not_shown() -> None:
    url = "postgresql://oriel:hunter2@db.example.com/oriel"
    assert settings.masked_database(url) == "postgresql://oriel:...@db.example.com/oriel"
    kept = settings.settle(Flags(database=url), None, DATA)
    assert "hunter2" not in str(settings.as_dict(kept))


def test_the_digest_changes_with_what_control_must_know() -> None:
    base = settings.settle(Flags(), None, DATA)
    other = settings.settle(Flags(web="127.0.0.1:81"), None, DATA)
    assert base.digest() == settings.settle(Flags(), base, DATA).digest()
    assert base.digest() != other.digest()


def test_isolation_is_kept_and_what_is_none_is_refused(tmp_path: Path) -> None:
    made = settings.settle(Flags(isolation="none"), None, tmp_path)
    assert Settings.from_json(made.to_json()).isolation == "none"
    assert settings.settle(Flags(), made, tmp_path).isolation == "none"
    assert settings.settle(Flags(isolation="bubblewrap"), made, tmp_path) == settings.settle(
        Flags(), None, tmp_path
    )
    with pytest.raises(faults.Invalid, match="--isolation 'docker'"):
        settings.settle(Flags(isolation="docker"), None, tmp_path)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (("10.0.0.0/8",), ("10.0.0.0/8",)),
        (("10.0.0.1/8",), ("10.0.0.0/8",)),
        (("192.0.2.7",), ("192.0.2.7/32",)),
        (("2001:DB8::/32", "::1"), ("2001:db8::/32", "::1/128")),
        ((" 10.0.0.0/8 ", "", "10.0.0.0/8"), ("10.0.0.0/8", "10.0.0.0/8")),
        (("",), ()),
        ((), ("198.51.100.0/24",)),
    ],
)
def test_trusted_proxies_are_networks_in_one_form(
    typed: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    before = settings.settle(Flags(trust_proxy=("198.51.100.0/24",)), None, DATA)
    made = settings.settle(Flags(trust_proxy=typed), before, DATA)
    assert made.trust_proxy == kept
    assert Settings.from_json(made.to_json()).trust_proxy == kept
    assert (made.digest() == before.digest()) == (made == before)


@pytest.mark.parametrize(("text", "kept"), [("0", 0), ("200", 200), ("auto", None)])
def test_spares_are_kept(text: str, kept: int | None, tmp_path: Path) -> None:
    before = settings.settle(Flags(spares="7"), None, tmp_path)
    made = settings.settle(Flags(spares=text), before, tmp_path)
    assert Settings.from_json(made.to_json()).spares == kept
    assert settings.settle(Flags(), made, tmp_path).spares == kept


@pytest.mark.parametrize("text", ["", "-1", "many", "1001", "1.5", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_spares_that_are_no_number_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(faults.Invalid, match="no number from 0 to 1000"):
        settings.settle(Flags(spares=text), None, tmp_path)
