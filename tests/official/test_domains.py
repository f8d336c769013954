"""The rows `domains*`, `certs*`, `features*` and `maintenance*` of heroku-cli-contract 2.6, run for
real, and that what they say is so: requests and handshakes meet what was asked for."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
from pathlib import Path

from oriel.clock import SystemClock
from oriel.router import tls
from tests.certificates.making import pair

from .heroku import Heroku, eventually
from .place import Place


def met(oriel: Place, host: str) -> str:
    """SHA-1 of the certificate that a handshake for `host` meets."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", oriel.secure), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der
    return tls.print_of(ssl.DER_cert_to_PEM_cert(der))


def plain(oriel: Place, host: str) -> int:
    """The status of a request without TLS."""
    connection = http.client.HTTPConnection("127.0.0.1", oriel.platform.web_port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().status


def test_domains(heroku: Heroku, oriel: Place) -> None:
    oriel.app("named", "one")
    added = heroku("domains:add", "www.example.com", "-a", "named")
    assert "Adding www.example.com to named... done" in added.err
    assert "point to the DNS Target named.localhost" in added.out
    heroku("domains:add", "*.shop.example.com", "-a", "named")
    shown = heroku("domains", "-a", "named").out
    assert "=== named Heroku Domain" in shown
    assert re.search(r"^ *www\.example\.com +CNAME +named\.localhost", shown, re.MULTILINE), shown
    listed = heroku("domains", "--json", "-a", "named").json
    assert {each["hostname"] for each in listed} == {
        "named.localhost", "*.shop.example.com", "www.example.com"}  # fmt: skip
    info = heroku("domains:info", "www.example.com", "-a", "named").out
    assert re.search(r"hostname: +www\.example\.com", info)
    heroku("domains:wait", "www.example.com", "-a", "named")
    heroku("domains:wait", "-a", "named")
    for host in ("www.example.com", "a.shop.example.com", "a.b.shop.example.com"):
        eventually(lambda h=host: oriel.platform.get(h)[0] == 200, f"{host} leads to the app")  # type: ignore[misc]
    taken = heroku("domains:add", "www.example.com", "-a", "named", check=False)
    assert taken.code != 0
    assert "is a domain of named already" in taken.err
    gone = heroku("domains:remove", "www.example.com", "-a", "named")
    assert "Removing www.example.com from named... done" in gone.err
    cleared = heroku("domains:clear", "-a", "named")
    assert "Removing all domains from named... done" in cleared.err
    eventually(lambda: oriel.platform.get("a.shop.example.com")[0] == 404, "it leads there no more")


def test_certs(heroku: Heroku, oriel: Place, tmp_path: Path) -> None:
    oriel.app("sealed")
    none = heroku("certs", "-a", "sealed").out
    assert "sealed has no SSL certificates" in none
    now = SystemClock().wall()
    files = {}
    for name, number in (("one", 0), ("two", 1)):
        chain, key = pair(now, "secure.example.com", number=number)
        (tmp_path / f"{name}.crt").write_text(chain)
        (tmp_path / f"{name}.key").write_text(key)
        files[name] = (str(tmp_path / f"{name}.crt"), str(tmp_path / f"{name}.key"))
    added = heroku("certs:add", *files["one"], "-a", "sealed")
    assert "Adding SSL certificate to sealed... done" in added.err
    assert "SSL certificate is self signed." in added.out
    assert "secure.example.com" in added.out
    (name,) = [each["name"] for each in oriel.ask("GET", "/apps/sealed/sni-endpoints")]
    heroku("domains:add", "secure.example.com", "--cert", name, "-a", "sealed")
    assert re.search(rf"{name} +secure\.example\.com", heroku("certs", "-a", "sealed").out)
    info = heroku("certs:info", "--show-domains", "-a", "sealed")
    assert f"Fetching SSL certificate {name} info for sealed... done" in info.err
    assert "secure.example.com" in info.out
    one = tls.print_of((tmp_path / "one.crt").read_text())
    two = tls.print_of((tmp_path / "two.crt").read_text())
    eventually(lambda: met(oriel, "secure.example.com") == one, "it is shown")
    updated = heroku("certs:update", *files["two"], "--confirm", "sealed", "-a", "sealed")
    assert f"Updating SSL certificate {name} for sealed... done" in updated.err
    eventually(lambda: met(oriel, "secure.example.com") == two, "the new one is shown")
    heroku("domains:update", "secure.example.com", "--cert", name, "-a", "sealed")
    wrong = heroku("certs:add", files["one"][0], files["two"][1], "-a", "sealed", check=False)
    assert wrong.code != 0
    assert "does not belong to the certificate" in wrong.err
    removed = heroku("certs:remove", "--confirm", "sealed", "-a", "sealed")
    assert f"Removing SSL certificate {name} from sealed... done" in removed.err
    eventually(lambda: met(oriel, "secure.example.com") not in (one, two), "it is shown no more")


def test_automatic_certificates_though_control_is_killed(heroku: Heroku, oriel: Place) -> None:
    oriel.app("kept")
    assert "disabled on kept" in heroku("certs:auto", "-a", "kept").out.replace("⬢ ", "")
    heroku("domains:add", "auto.example.com", "-a", "kept")
    enabled = heroku("certs:auto:enable", "-a", "kept")
    assert "Enabling Automatic Certificate Management... starting" in enabled.err
    control = (oriel.platform.data / "run" / "control.pid.json").read_text()
    os.kill(int(re.search(r"\d+", control)[0]), signal.SIGKILL)  # type: ignore[index]

    def status() -> object:
        try:
            found = oriel.ask("GET", "/apps/kept/domains/auto.example.com")
        except OSError:
            return None  # Control starts again.
        return found["acm_status"] == "cert issued" and found

    eventually(status, "the certificate is issued", within_s=60)
    shown = heroku("certs:auto", "-a", "kept").out
    assert re.search(r"auto\.example\.com +Cert issued", shown), shown
    (cert,) = oriel.ask("GET", "/apps/kept/sni-endpoints")
    assert cert["ssl_cert"]["acm"] is True
    wanted = tls.print_of(cert["certificate_chain"])
    eventually(lambda: met(oriel, "auto.example.com") == wanted, "it is shown")
    assert "ACM" in heroku("certs", "-a", "kept").out
    heroku("certs:auto:refresh", "-a", "kept")
    off = heroku("certs:auto:disable", "--confirm", "kept", "-a", "kept")
    assert "Disabling Automatic Certificate Management... done" in off.err
    eventually(lambda: met(oriel, "auto.example.com") != wanted, "it is gone")


def test_features(heroku: Heroku, oriel: Place) -> None:
    oriel.app("moved", "one")
    assert "https-redirect" in heroku("features", "-a", "moved").out
    heroku("features:enable", "https-redirect", "-a", "moved")
    eventually(lambda: plain(oriel, "moved.localhost") == 301, "http is sent on")
    heroku("features:disable", "https-redirect", "-a", "moved")
    eventually(lambda: plain(oriel, "moved.localhost") == 200, "it is not any more")


def test_other_scripts_and_what_is_refused(heroku: Heroku, oriel: Place) -> None:
    oriel.app("spelt")
    heroku("domains:add", "bücher.example", "-a", "spelt")
    rows = heroku("domains", "--csv", "-a", "spelt").out.splitlines()
    assert "xn--bcher-kva.example,ALIAS or ANAME,spelt.localhost," in rows
    for words, said in (
        (("domains:add", "x.localhost"), "is the platform's own"),
        (("domains:info", "nowhere.example.com"), "Couldn't find that domain."),
        # It puts the name into the URL as it is, so that only letters of ASCII do.
        (("domains:update", "xn--bcher-kva.example", "--cert", "no"), "find that certificate."),
        (("certs:info",), "spelt has no SSL certificates"),
        (("certs:auto:refresh",), "Automatic certificates are off for spelt."),
        (("features:enable", "none"), "There is no feature none."),
    ):
        ended = heroku(*words, "-a", "spelt", check=False)
        assert ended.code != 0, words
        assert said in " ".join(ended.err.replace("›", " ").split()), (words, ended.err)


def test_maintenance_is_what_visitors_meet(heroku: Heroku, oriel: Place) -> None:
    oriel.app("resting", "one")
    host = "resting.localhost"
    eventually(lambda: plain(oriel, host) == 200, "it serves")
    heroku("maintenance:on", "-a", "resting")
    eventually(lambda: plain(oriel, host) == 503, "visitors get the page")
    assert "Offline for maintenance" in oriel.platform.get(host)[1]
    eventually(
        lambda: "code=H80" in heroku("logs", "--ps", "router", "-n", "5", "-a", "resting").out,
        "the log says so",
    )
    heroku("maintenance:off", "-a", "resting")
    eventually(lambda: plain(oriel, host) == 200, "it serves again")
