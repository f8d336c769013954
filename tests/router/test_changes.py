"""From any state of HAProxy to any table: commands that get there, and stay there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from oriel.router import changes
from oriel.router.places import Places, Stamp
from oriel.router.seen import Process, Seen, SeenServer
from oriel.router.table import AppRoute, RouteTable, Server

LAYOUT = "0" * 16
HERE = Path("/d")
IDS = {"hosts": "#1", "apps": "#2", "pages": "#3", "challenges": "#4"}


class Model:
    """What HAProxy does with the few commands that the router uses."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.maps: dict[str, list[tuple[str, str]]] = {each: [] for each in IDS.values()}
        self.servers: dict[str, list[object]] = {}

    def tell(self, command: str) -> None:
        # It would end the command and begin another one, in an app's own words.
        assert ";" not in command
        assert not command.split(" ")[-1].startswith("<<")
        words = command.split(" ")
        match words:
            case ["add", "map", which, key, value]:
                self.maps[which].append((key, value))
            case ["set", "map", which, key, value]:
                assert key in dict(self.maps[which])
                self.maps[which] = [(k, value if k == key else v) for k, v in self.maps[which]]
            case ["del", "map", which, key]:
                assert key in dict(self.maps[which])
                self.maps[which] = [(k, v) for k, v in self.maps[which] if k != key]
            case ["add", "server", name, where]:
                assert name not in self.servers
                assert int(name[5:9]) < self.slots
                host, _, port = where.rpartition(":")
                self.servers[name] = [host.strip("[]"), int(port), False, 0]
            case ["set", "server", name, "state", state]:
                self.servers[name][2:] = [state == "ready", 0]
            case ["set", "server", name, "addr", host, "port", port]:
                self.servers[name][:2] = [host, int(port)]
            case ["del", "server", name]:
                assert not self.servers.pop(name)[2]
            case _:
                raise AssertionError(command)

    def show(self) -> Seen:
        maps: dict[str, dict[str, str | None]] = {
            name: {
                key: value if [k for k, _ in self.maps[id_]].count(key) == 1 else None
                for key, value in self.maps[id_]
            }
            for name, id_ in IDS.items()
        }
        return Seen(
            Process(1, Stamp(LAYOUT, self.slots)),
            IDS,
            maps,
            tuple(self._servers()),
        )

    def _servers(self) -> Iterator[SeenServer]:
        for name, (host, port, ready, since_s) in self.servers.items():
            slot, label = name.split("/")
            yield SeenServer(
                int(slot[5:]),
                label,
                str(host),
                int(str(port)),
                bool(ready),
                not ready,
                int(str(since_s)),
            )

    def answers(self, host: str) -> tuple[str, list[tuple[object, object]]] | None:
        """Mode and dynos that a request of `host` meets."""
        app = dict(reversed(self.maps["#1"])).get(host)
        entry = dict(reversed(self.maps["#2"])).get(app or "")
        if entry is None:
            return None
        slot, mode, *_ = entry.removeprefix("=").split("|")
        dynos = [s[:2] for name, s in self.servers.items() if name.startswith(f"{slot}/") and s[2]]
        return mode, sorted(tuple(each) for each in dynos)  # type: ignore[type-var]


NAMES = [f"app-{n}" for n in range(5)]
SERVERS = st.lists(
    st.builds(
        lambda name, instance, port: Server(f"web.{name}", f"{instance:08x}", "127.0.0.1", port),
        st.integers(1, 2),
        st.integers(0, 3),
        st.integers(1, 3),
    ),
    max_size=3,
    unique_by=lambda server: server.label,
)
MODES = st.sampled_from(["serve", "maintenance", "crashed", "idle"])
PAGES = st.sampled_from(["", "<<p>a;b</p>", "; disable frontend web; \\ # <<"])
APPS = st.tuples(SERVERS, MODES, st.booleans(), st.booleans(), PAGES)
TABLES = st.dictionaries(st.sampled_from(NAMES), APPS).map(
    lambda apps: RouteTable(
        tuple(
            AppRoute(
                f"id-{name}",
                name,
                "c",
                (f"{name}.x", f"*.{name}.x"),
                tuple(servers),
                mode,  # type: ignore[arg-type]
                sticky=sticky,
                https=https,
                challenges={(f"{name}.x", "token"): f"a.{name}"} if https else None,
                error_page=page,
            )
            for name, (servers, mode, sticky, https, page) in apps.items()
        )
    )
)
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from([f"id-{name}" for name in NAMES] + ["id-gone"]),
        st.sampled_from(
            ["slot-0000|serve|c||||", "slot-0001|serve|c||||", "slot-0099|none|c||||", "nonsense"]
        ),
    )
)


def follow(model: Model, table: RouteTable) -> changes.Plan:
    """As the router does: tell, look again, until nothing is left to tell."""
    for _ in range(3):
        plan = changes.plan(table, model.show(), LAYOUT, HERE)
        if not plan.commands:
            return plan
        for command in plan.commands:
            model.tell(command)
    raise AssertionError(f"never done: {plan.commands}")


def wanted(app: AppRoute) -> tuple[str, list[tuple[str, int]]]:
    return app.mode, sorted((server.host, server.port) for server in app.servers)


@given(st.lists(TABLES, min_size=1, max_size=5), ENTRIES, st.integers(6, 12))
def test_every_table_is_reached_from_every_state(
    tables: list[RouteTable], entries: list[tuple[str, str]], slots: int
) -> None:
    model = Model(slots)
    model.maps["#2"] = entries
    model.maps["#1"] = [("app-0.x", "id-app-0"), ("app-0.x", "id-app-1"), ("old.x", "id-gone")]
    for table in tables:
        plan = follow(model, table)
        served = {app.app_id for app in table.apps if app.app_id in plan.places.by_app}
        assert plan.reload == (len(served) < len(table.apps))
        for app in table.apps:
            if app.app_id in served:
                assert model.answers(app.hosts[0]) == wanted(app)
        assert model.answers("old.x") is None
        told = {each.app_id for each in table.apps if each.https} & served
        options = {app_id: entry.rpartition("|")[2] for app_id, entry in model.maps["#2"]}
        assert options == {
            each.app_id: "+".join(
                ["acme"] * each.https + ["sticky"] * each.sticky + ["https"] * each.https
            )
            for each in table.apps
            if each.app_id in served
        }
        assert len(model.maps["#4"]) == len(told)
        for name in NAMES:
            if f"id-{name}" not in {app.app_id for app in table.apps}:
                assert model.answers(f"{name}.x") is None


@given(TABLES, TABLES)
def test_no_step_on_the_way_leads_one_apps_request_to_anothers_dyno(
    before: RouteTable, after: RouteTable
) -> None:
    model = Model(10)
    follow(model, before)
    allowed = {
        (app.hosts[0], server.host, server.port)
        for table in (before, after)
        for app in table.apps
        for server in app.servers
    }
    for command in changes.plan(after, model.show(), LAYOUT, HERE).commands:
        model.tell(command)
        for name in NAMES:
            for host, port in (model.answers(f"{name}.x") or ("", []))[1]:
                assert (f"{name}.x", host, port) in allowed


@given(TABLES, st.dictionaries(st.sampled_from(NAMES), st.integers(0, 40)), st.integers(0, 20))
def test_after_a_reload_every_app_has_a_slot_of_its_own_and_there_are_spares(
    table: RouteTable, holders: dict[str, int], slots: int
) -> None:
    ids = {f"id-{name}": slot for name, slot in holders.items()}
    ids = {each: slot for each, slot in ids.items() if list(ids.values()).count(slot) == 1}
    places = changes.place_all(table, ids, slots, 4)
    taken = list(places.by_app.values())
    assert set(places.by_app) == {app.app_id for app in table.apps}
    assert len(set(taken)) == len(taken)
    assert all(0 <= slot < places.slots for slot in taken)
    assert places.slots >= max(slots, len(taken) + 4)
    for app_id, slot in ids.items():
        if app_id in places.by_app and slot < places.slots:
            assert places.by_app[app_id] == slot


def test_a_slot_is_not_given_away_while_servers_of_the_last_app_are_in_it() -> None:
    server = Server("web.1", "0" * 8, "127.0.0.1", 1)
    one = AppRoute("id-1", "one", "c", ("one.x",), (server,), "serve")
    two = AppRoute("id-2", "two", "c", ("two.x",), (server,), "serve")
    model = Model(1)
    follow(model, RouteTable((one,)))
    plan = follow(model, RouteTable((two,)))
    assert plan.reload
    assert plan.places == Places(1, {})
    assert plan.chores == ()
    model.servers["slot-0000/web.1:00000000"][3] = changes.RETIRE_S
    plan = changes.plan(RouteTable(), model.show(), LAYOUT, HERE)
    assert plan.chores == ("del server slot-0000/web.1:00000000",)
    model.tell(plan.chores[0])
    assert not follow(model, RouteTable((two,))).reload


def test_a_foreign_haproxy_takes_a_reload_and_no_command() -> None:
    seen = Model(4).show()
    for process in (Process(1, None), Process(1, Stamp(LAYOUT, 4, version=99))):
        other = Seen(process, seen.map_ids, {}, ())
        assert changes.plan(RouteTable(), other, LAYOUT, HERE).reload
        assert changes.plan(RouteTable(), other, LAYOUT, HERE).commands == ()
    assert changes.plan(RouteTable(), seen, "f" * 16, HERE).reload


def test_what_holds_a_slot() -> None:
    assert changes.held(
        {
            "a": "slot-0001|serve|c||||",
            "b": "slot-0002|none|d||||",
            "c": "x",
            "d": None,
            "e": "slot-0002|none|d||||",
            "f": "=slot-0003|serve|f||||sticky",
        }
    ) == {"a": 1, "f": 3}
