"""`oriel up` and `oriel down`, with stand-ins for the platform's processes: real processes, real
kills. What is tested is the supervision, so what is supervised may be small."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from oriel.house import processes, settings
from tests.house.platform import PATIENCE_S, Platform, free_address

INSTANCE = "0123456789abcdef0123456789abcdef"


def test_it_starts_all_three_each_in_a_session_of_its_own(stage: Platform) -> None:
    stage.start()
    stage.give_haproxy_its_configuration()
    # The answer to a request comes after the events before it.
    while stage.status()["processes"]["haproxy"]["state"] != "up":
        pass
    for name in ("logplex", "control", "haproxy"):
        assert os.getsid(stage.pid(name)) == stage.pid(name)
    assert stage.status()["ready"] is True
    assert stage.layout.up_socket.stat().st_mode & 0o777 == 0o600
    assert stage.layout.data.stat().st_mode & 0o777 == 0o700
    assert stage.layout.settings.stat().st_mode & 0o777 == 0o600


def test_it_says_where_it_listens_and_where_the_setup_token_is_but_not_the_token(
    stage: Platform,
) -> None:
    stage.layout.data.mkdir(mode=0o700)
    stage.layout.run.mkdir()
    stage.layout.setup_token.write_text("s3cret-token")
    stage.start(until="Ctrl-C")
    assert f"http://{stage.api}" in stage.heard
    assert f"http://NAME.localhost:{stage.web.split(':')[1]}" in stage.heard
    assert str(stage.layout.setup_token) in stage.heard
    assert "s3cret" not in stage.heard


@pytest.mark.parametrize("name", ["logplex", "control"])
def test_a_child_that_dies_is_started_again_at_once(stage: Platform, name: str) -> None:
    stage.start()
    before = stage.pid(name)
    os.kill(before, signal.SIGKILL)
    said = stage.hear("starting it again")
    assert f"{name} was killed by SIGKILL; starting it again now." in said
    while stage.status()["processes"][name]["pid"] in (None, before):
        pass
    assert stage.status()["processes"][name] | {"pid": 0} == {
        "state": "up",
        "pid": 0,
        "adopted": False,
        "crashes": 1,
    }


def test_a_crash_loop_is_slowed_down_and_its_last_words_are_told(stage: Platform) -> None:
    stage.prepare("control.breaks")
    stage.start(until="starting it again in 1 s")
    assert "control ended with status 1; starting it again now." in stage.heard
    assert "starting it again in 0.5 s" in stage.heard
    assert "    control found something broken" in stage.heard


def test_a_new_configuration_ends_the_waiting_of_haproxy(stage: Platform) -> None:
    broken = stage.prepare("haproxy.breaks")
    stage.start()
    stage.give_haproxy_its_configuration()
    stage.hear("haproxy ended with status 1; starting it again in 0.5 s")
    broken.unlink()
    stage.give_haproxy_its_configuration()
    while stage.status()["processes"]["haproxy"]["state"] != "up":
        pass


def test_after_a_kill_of_up_the_others_go_on_and_the_next_adopts_them(stage: Platform) -> None:
    first = stage.start()
    stage.give_haproxy_its_configuration()
    while stage.status()["processes"]["haproxy"]["state"] != "up":
        pass
    before = {name: stage.pid(name) for name in ("logplex", "control", "haproxy")}
    kept = settings.load(stage.layout.settings)
    first.kill()
    first.wait()
    stage.start()
    after = stage.status()["processes"]
    assert {name: after[name]["pid"] for name in after} == before
    assert all(after[name]["adopted"] for name in after)
    assert settings.load(stage.layout.settings) == kept  # the router's port, too
    assert len(stage.started()) == 3


def test_an_adopted_child_that_dies_is_started_again(stage: Platform) -> None:
    first = stage.start()
    first.kill()
    first.wait()
    stage.start()
    before = stage.pid("control")
    os.kill(before, signal.SIGKILL)
    assert "control is gone; starting it again now." in stage.hear("starting it again")
    while stage.status()["processes"]["control"]["pid"] in (None, before):
        pass
    assert stage.status()["processes"]["control"]["adopted"] is False


def test_a_control_with_other_settings_is_started_again(stage: Platform) -> None:
    first = stage.start()
    before = stage.pid("control")
    first.kill()
    first.wait()
    stage.start(web=free_address())
    assert "control still runs, but with other settings" in stage.heard
    assert stage.pid("control") != before
    assert stage.status()["processes"]["logplex"]["adopted"] is True


def test_a_pid_file_of_another_process_adopts_nothing(stage: Platform) -> None:
    stage.layout.run.mkdir(parents=True)
    stage.layout.data.chmod(0o700)
    mine = processes.identify(os.getpid())
    stranger = processes.Identity(mine.pid, mine.start_time + 1, mine.boot_id)
    processes.write_pid_file(stage.layout.pid_file("control"), stranger)
    stage.start()
    assert stage.status()["processes"]["control"]["adopted"] is False


def test_the_router_socket_outlives_logplex_and_up(stage: Platform) -> None:
    first = stage.start()
    kept = settings.load(stage.layout.settings)
    assert kept is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as haproxy:
        haproxy.connect(("127.0.0.1", kept.router_log_port))
        os.kill(stage.pid("logplex"), signal.SIGKILL)
        stage.hear("logplex was killed by SIGKILL")
        # ECONNREFUSED would come with the second send, had the socket been closed.
        haproxy.send(b"one")
        haproxy.send(b"two")
        while stage.status()["processes"]["logplex"]["state"] != "up":
            pass
        stage_answers(stage)
        first.kill()
        first.wait()
        haproxy.send(b"three")
        haproxy.send(b"four")


def stage_answers(stage: Platform) -> None:
    """Wait until the stand-in logplex listens (again)."""
    for _ in range(10_000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            try:
                door.connect(str(stage.layout.logplex_socket))
            except OSError:
                continue
            return
    pytest.fail("logplex does not listen")


def test_two_ups_on_one_directory_are_refused(stage: Platform) -> None:
    first = stage.start()
    stage.api, stage.web = free_address(), free_address()
    second = stage.run("up")
    assert second.returncode == 1
    assert f"Another `oriel up` (process {first.pid}) runs the data directory" in second.stderr
    assert f"oriel down --data {stage.layout.data}" in second.stderr
    assert stage.status()["pid"] == first.pid


def test_a_port_in_use_is_one_sentence(stage: Platform) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stage.web = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = stage.run("up")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "is in use by another program" in refused.stderr
    assert "oriel up --web 127.0.0.1:" in refused.stderr


# FIFOs.


def _writes(path: Path, text: bytes) -> None:
    """A dyno that writes and is gone."""
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, text)
    os.close(writer)


def _reads(path: Path) -> bytes:
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(reader, 4096)
    except BlockingIOError:
        return b""
    finally:
        os.close(reader)


def test_a_held_fifo_keeps_its_bytes_while_all_others_are_dead(stage: Platform) -> None:
    stage.start()
    path = stage.make_dyno(INSTANCE)
    assert stage.ask(op="hold", instance=INSTANCE) == {"ok": True}
    for name in ("logplex", "control"):
        os.kill(stage.pid(name), signal.SIGKILL)
    _writes(path, b"last words\n")
    assert _reads(path) == b"last words\n"


def test_up_holds_what_is_there_at_its_start(stage: Platform) -> None:
    path = stage.make_dyno(INSTANCE)
    stage.layout.run.mkdir()
    stage.layout.data.chmod(0o700)
    stage.start()
    assert stage.status()["held"] == 1
    _writes(path, b"last words\n")
    assert _reads(path) == b"last words\n"


def test_a_released_fifo_is_let_go(stage: Platform) -> None:
    stage.start()
    path = stage.make_dyno(INSTANCE)
    stage.ask(op="hold", instance=INSTANCE)
    stage.ask(op="hold", instance=INSTANCE)
    assert stage.status()["held"] == 1
    stage.ask(op="release", instance=INSTANCE)
    stage.ask(op="release", instance=INSTANCE)
    assert stage.status()["held"] == 0
    with pytest.raises(OSError, match="No such device"):
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)


@pytest.mark.parametrize(
    "asked",
    [
        {"op": "hold", "instance": "../../etc"},
        {"op": "hold", "instance": ""},
        {"op": "hold", "instance": "f" * 32},
        {"op": "make-coffee"},
        {},
    ],
)
def test_a_senseless_request_is_refused_and_harms_nothing(stage: Platform, asked: dict) -> None:
    stage.start()
    assert stage.ask(**asked)["ok"] is False
    assert stage.status()["held"] == 0


def test_after_down_dynos_can_still_speak_and_the_next_up_takes_their_fifos_back(
    stage: Platform,
) -> None:
    first = stage.start()
    path = stage.make_dyno(INSTANCE)
    stage.ask(op="hold", instance=INSTANCE)
    stopped = stage.run("down")
    assert "1 dyno(s) go on" in stopped.stderr
    assert first.wait(PATIENCE_S) == 0
    _writes(path, b"in between\n")
    keeper = stage.pid("keeper")
    stage.start()
    assert stage.status()["held"] == 1
    assert not stage.layout.pid_file("keeper").exists()
    assert _gone(keeper)
    assert _reads(path) == b"in between\n"


def _gone(pid: int) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return processes.wait_for_end(pidfd, PATIENCE_S)
    finally:
        os.close(pidfd)


# Stopping.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_platform_in_order(stage: Platform, number: signal.Signals) -> None:
    up = stage.start()
    pids = [stage.pid(name) for name in ("logplex", "control")]
    up.send_signal(number)
    assert up.wait(PATIENCE_S) == 0
    assert all(_gone(pid) for pid in pids)
    assert not list(stage.layout.run.glob("*.pid.json"))
    assert not stage.layout.up_socket.exists()


def test_down_dynos_has_control_stop_them(stage: Platform) -> None:
    up = stage.start()
    stage.make_dyno(INSTANCE)
    stage.ask(op="hold", instance=INSTANCE)
    stopped = stage.run("dynos")
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stderr.splitlines()[-1] == "Stopped."
    assert up.wait(PATIENCE_S) == 0
    assert not list(stage.layout.dynos.iterdir())
    assert not stage.layout.pid_file("keeper").exists()


def test_down_after_a_kill_of_up_stops_what_was_left(stage: Platform) -> None:
    up = stage.start()
    pids = [stage.pid(name) for name in ("logplex", "control")]
    up.kill()
    up.wait()
    assert stage.run("down").returncode == 0
    assert all(_gone(pid) for pid in pids)
    assert len(stage.started()) == 2


def test_down_dynos_after_down_starts_control_once_more(stage: Platform) -> None:
    up = stage.start()
    stage.make_dyno(INSTANCE)
    stage.ask(op="hold", instance=INSTANCE)
    stage.run("down")
    up.wait(PATIENCE_S)
    keeper = stage.pid("keeper")
    assert stage.run("dynos").returncode == 0
    assert not list(stage.layout.dynos.iterdir())
    assert _gone(keeper)
    assert [name for name, _ in stage.started()].count("control") == 2


def test_down_where_nothing_runs_says_so(stage: Platform) -> None:
    said = stage.run("down")
    assert (said.returncode, said.stderr) == (0, f"Nothing runs in {stage.layout.data}.\n")


def test_orphans_come_to_up_and_are_reaped(stage: Platform) -> None:
    """As the monitor of a dyno does when what started it dies."""
    stage.prepare("control.forks")
    up = stage.start()
    (orphan,) = [pid for name, pid in stage.started() if name == "orphan"]
    pidfd = os.pidfd_open(orphan)
    os.kill(stage.pid("control"), signal.SIGKILL)
    stage.hear("starting it again now")
    stat = Path(f"/proc/{orphan}/stat").read_text()
    assert int(stat[stat.rindex(")") + 2 :].split()[1]) == up.pid
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert processes.wait_for_end(pidfd, PATIENCE_S)
    os.close(pidfd)
    while os.path.exists(f"/proc/{orphan}"):
        assert stage.status()["ok"]


def test_up_survives_the_loss_of_its_terminal(stage: Platform) -> None:
    up = stage.start()
    assert up.stderr is not None
    up.stderr.close()
    before = stage.pid("control")
    os.kill(before, signal.SIGKILL)
    while stage.status()["processes"]["control"]["pid"] in (None, before):
        pass
    assert up.poll() is None


def test_kills_at_random_instants_leave_exactly_one_of_each(stage: Platform) -> None:
    """However early `oriel up` is killed, the next finds what it had started, or starts it."""
    for delay_ms in (0, 60, 120, 160, 200, 240, 280):
        up = stage.start(until="")
        try:
            up.wait(delay_ms / 1000)
        except subprocess.TimeoutExpired:
            up.kill()
        up.wait()
    stage.start()
    running = [stage.pid(name) for name in ("logplex", "control")]
    assert stage.standins() == sorted(running)
