"""The sum of an app's errors, through the API."""

from __future__ import annotations

from pathlib import Path

from tests.api.test_app import body, ok, play, refused
from tests.api.world import Site

LINE = {
    "time": "2011-06-19T08:35:19.000000+00:00",
    "ps": "router",
    "text": 'at=error code=H12 desc="Request timeout" method=GET path="/slow" host=a request_id=r'
    ' fwd="1.2.3.4" dyno=web.1 connect=0ms service=30000ms status=503 bytes=0',
}


def test_errors_are_summed_up(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        await ok(site, "POST", "/apps", 201, body=body(name="demo"))
        site.logplex.lines = [f"{LINE['time']} heroku[{LINE['ps']}]: {LINE['text']}"] * 3
        found = await ok(site, "GET", "/oriel/apps/demo/errors", 200, query="since=1h")
        assert found["app"] == "demo"
        assert found["errors"] == [
            {
                "code": "H12",
                "description": "Request timeout",
                "count": 6,
                "first": LINE["time"],
                "last": LINE["time"],
                "dynos": {"web.1": 6},
                "path": "/slow",
            }
        ]
        asked = site.logplex.asked
        assert [each.grep for each in asked] == [" code=H", "Error "]
        assert all(each.sources == ("heroku",) and each.since_us > 0 for each in asked)
        await refused(site, "GET", "/oriel/apps/demo/errors", 422, query="since=nonsense")
        await refused(site, "GET", "/oriel/apps/other/errors", 404)

    play(tmp_path / "d", tell)
