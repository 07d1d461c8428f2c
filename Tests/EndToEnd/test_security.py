"""Who may reach the broker, who it lets in, and what they may do: credentials, Unix sockets, reading them again."""
import grp
import os
import resource
import signal
import socket
import stat

import msgpack
import pytest

import wire
from programs import HOST, eventually
from security import GROUP, PROBE, counted, credential, digest, refusal, reload


# Credentials

def test_a_token_decides_what_a_session_is(house, credentials):
    credentials.write(credential("web", "worker, publish", "namespaces: [shop]", "nodes: [web-*]", token="t-web"))
    house.broker("--credentials", credentials.path)
    with wire.Wire(house.socket, role="worker", namespace="shop", token="t-web") as client:
        client.send("jobs", {"n": 1})
        assert client.receive("jobs") == {"n": 1}
    for hello in (
        {"role": "worker", "namespace": "shop", "token": "t-we"},
        {"role": "worker", "namespace": "shop", "token": ""},
        {"role": "worker", "namespace": "shop", "token": digest("t-web")},
        {"role": "admin", "namespace": "shop", "token": "t-web"},
        {"role": "worker", "namespace": "other", "token": "t-web"},
        {"role": "worker", "namespace": "shop", "node": "n1", "token": "t-web"},
    ):
        refused = refusal(lambda: wire.Wire(house.socket, **hello))
        assert (refused.code, refused.id) == (wire.UNAUTHORIZED, None)
        assert "t-web" not in refused.text
    assert counted(house, "refused.unauthorized") == 6


def test_a_user_of_this_machine_needs_no_token(house, credentials, port):
    credentials.write(probe=credential("group", "inspect", f"unix_groups: [{GROUP}]") + "\n" + PROBE)
    house.broker("--credentials", credentials.path, "--listen", f"tcp://{HOST}:{port}")
    # The first that fits: the role decides.
    for role in ("inspect", "admin"):
        with wire.Wire(house.socket, role=role) as client:
            assert client.status()["sessions"] >= 1
    assert refusal(lambda: wire.Wire(house.socket, role="worker")).code == wire.UNAUTHORIZED
    # The kernel says nothing about who is behind TCP.
    refused = refusal(lambda: wire.Wire(socket.create_connection((HOST, port))))
    assert refused.code == wire.UNAUTHORIZED and "token" in refused.text


def told_as_somebody_else(path, role, groups):
    """What the broker says to a process of another user. Forked, because that user may not read the interpreter."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setgid(65_532)
            os.setuid(65_532)
            with wire.Wire(path, role=role) as client:
                told = f"welcome {client.ask(wire.PING)}"
        except wire.Refused as refused:
            told = f"{refused.code} {refused.text}"
        except BaseException as failure:
            told = repr(failure)
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        told = answer.read()
    os.waitpid(child, 0)
    return told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_the_kernel_says_who_is_behind_a_socket(house, credentials):
    credentials.write(credential("guests", "inspect", "unix_groups: [65533]"))
    house.folder.chmod(0o755)
    house.broker("--credentials", credentials.path, "--socket-mode", "0666")

    def told(role, groups):
        return told_as_somebody_else(house.socket, role, groups)

    assert told("inspect", []).startswith(f"{wire.UNAUTHORIZED} ")
    # A group that is not the primary one counts too; a role that is not the credential's does not.
    assert told("inspect", [65_533]).startswith("welcome")
    assert told("admin", [65_533]).startswith(f"{wire.UNAUTHORIZED} ")


def test_patterns_bound_what_a_session_may_do(house, credentials):
    credentials.write(credential(
        "billing", "worker", "channels:", "  send: [billing.*]", "  receive: [billing.in]",
        "groups:", "  send: [bill_*]", "  join: [bill_own]", token="t",
    ))
    house.broker("--credentials", credentials.path)
    body = msgpack.packb({"n": 1})
    with wire.Wire(house.socket) as other, wire.Wire(house.socket, role="worker", node="b1", token="t") as billing:
        other.ask(wire.GROUP_ADD, "secret", ["salaries"])
        other.send("salaries", {"n": 1})
        for request in (
            (wire.SEND, "salaries", body), (wire.RECEIVE, "billing.out", 1), (wire.GROUP_SEND, "secret", body),
            (wire.GROUP_ADD, "secret", ["b1!x"]), (wire.GROUP_ADD, "bill_own", ["salaries"]),
            (wire.GROUP_DISCARD, "bill_own", ["salaries"]), (wire.FLUSH,),
            (wire.INSPECT, "group", {"name": "secret"}), (wire.INSPECT, "channel", {"name": "salaries"}),
            (wire.INSPECT, "status", {}),
        ):
            assert refusal(lambda: billing.ask(*request)).code == wire.FORBIDDEN, request
        # Without an id it is said all the same, and nothing has happened.
        billing.write(wire.SEND, None, "salaries", body)
        assert billing.read()[:3] == [wire.ERROR, None, wire.FORBIDDEN]
        assert billing.ask(wire.INSPECT, "groups", {})["rows"] == []
        assert billing.ask(wire.INSPECT, "channels", {})["total"] == 0
        billing.send("billing.in", {"n": 2})
        assert billing.receive("billing.in") == {"n": 2}
        billing.ask(wire.GROUP_ADD, "bill_own", ["b1!x"])
        billing.ask(wire.GROUP_SEND, "bill_own", body)
        assert billing.next_push(wire.GROUP_DELIVER)[1] == "bill_own"
        assert [row["group"] for row in billing.ask(wire.INSPECT, "groups", {})["rows"]] == ["bill_own"]
        assert other.receive("salaries") == {"n": 1}
        assert {row["group"] for row in other.ask(wire.INSPECT, "groups", {})["rows"]} == {"secret", "bill_own"}


def test_revocation_ends_what_lives(house, credentials):
    """CVE-2021-34434: what was allowed earlier does not go on."""
    one = credential("one", "worker", token="t1")
    credentials.write(one, credential("two", "worker", token="t2"), credential("three", "worker", token="t3"))
    broker = house.broker("--credentials", credentials.path)
    with (
        wire.Wire(house.socket, role="worker", node="n1", token="t1") as kept,
        wire.Wire(house.socket, role="worker", node="n2", token="t2") as revoked,
        wire.Wire(house.socket, role="worker", node="n3", token="t3") as narrowed,
        wire.Wire(house.socket) as probe,
    ):
        for node, client in (("n1", kept), ("n2", revoked), ("n3", narrowed)):
            client.ask(wire.GROUP_ADD, "room", [f"{node}!1"])
        credentials.write(one, credential("three", "worker", "groups:", "  join: [hall]", token="t3"))
        reload(house, broker, "credentials_ok")
        for client, why in ((revoked, "revoked"), (narrowed, "changed")):
            error = client.read()
            assert error[:3] == [wire.ERROR, None, wire.UNAUTHORIZED] and why in error[3]
            assert client.read() == b""
        members = probe.ask(wire.INSPECT, "group", {"name": "room"})["rows"]
        assert [row["channel"] for row in members] == ["n1!1"]
        assert kept.ask(wire.PING) is None
    assert refusal(lambda: wire.Wire(house.socket, role="worker", token="t2")).code == wire.UNAUTHORIZED
    with wire.Wire(house.socket, role="worker", node="n3", token="t3") as again:
        assert refusal(lambda: again.ask(wire.GROUP_ADD, "room", ["n3!1"])).code == wire.FORBIDDEN


def test_a_session_is_resumed_by_whom_it_belongs_to(house, credentials):
    one, two = credential("one", "worker", token="t1"), credential("two", "worker", token="t2")
    credentials.write(one, two)
    broker = house.broker("--credentials", credentials.path)
    hello = {"role": "worker", "node": "n1", "capabilities": ["resume"]}

    def resume(token, resume_token):
        return wire.Wire(house.socket, **hello, token=token, resume=resume_token, received=0)

    first = wire.Wire(house.socket, **hello, token="t1")
    secret = first.welcome["resume_token"]
    # Who has found the token, but is somebody else, gets nothing and ends nothing.
    assert refusal(lambda: resume("t2", secret)).code == wire.NODE_TAKEN
    assert refusal(lambda: resume("t3", secret)).code == wire.UNAUTHORIZED
    assert first.ask(wire.PING) is None
    first.link.close()
    with resume("t1", secret) as again:
        assert again.welcome["resumed"] and again.welcome["session"] == first.welcome["session"]
    eventually(lambda: counted(house, "detached") == 1, "it waits to be resumed")
    credentials.write(two)
    reload(house, broker, "credentials_ok")
    assert counted(house, "detached") == 0
    assert refusal(lambda: resume("t1", secret)).code == wire.UNAUTHORIZED
    with wire.Wire(house.socket, **hello, token="t2") as other:
        assert other.ask(wire.PING) is None


def test_a_session_goes_on_in_the_next_start_only_as_it_was(house, credentials):
    """Who may do what can have changed between two starts: then the state holds what was allowed earlier."""
    state = house.folder / "state"
    hello = {"role": "worker", "capabilities": ["resume"]}
    one, two, three = (credential(name, "worker", token=f"t-{name}") for name in ("one", "two", "three"))
    credentials.write(one, two, three)
    before = house.broker("--credentials", credentials.path, "--state", state)
    links = {name: wire.Wire(house.socket, **hello, node=name, token=f"t-{name}") for name in ("one", "two", "three")}
    for name, client in links.items():
        client.ask(wire.GROUP_ADD, "room", [f"{name}!1"])
    assert before.terminate() == 0
    assert b"t-one" not in state.read_bytes()
    two = credential("two", "worker", "groups:", "  join: [hall]", token="t-two")
    credentials.write(one, two, three)
    after = house.broker("--credentials", credentials.path, "--state", state, name="after")

    def members():
        with wire.Wire(house.socket) as probe:
            rows = probe.ask(wire.INSPECT, "group", {"name": "room"})["rows"]
            return sorted(row["channel"] for row in rows)

    assert members() == ["one!1", "three!1"]
    credentials.write(one, two)
    reload(house, after, "credentials_ok")
    assert members() == ["one!1"], "revoked while it waits to be resumed"

    def resumed(name):
        secret = links[name].welcome["resume_token"]
        with wire.Wire(house.socket, **hello, node=name, token=f"t-{name}", resume=secret, received=1) as client:
            return client.welcome.get("resumed", False)

    assert resumed("one")
    # Its node is free at once, for a session that registers what it still may.
    assert not resumed("two")
    assert members() == ["one!1"]


def test_a_bad_file_changes_nothing(house, credentials):
    """CVE-2017-7652: reading again parses all, then swaps; whatever goes wrong, what was in force stays."""
    web = credential("web", "worker", token="t")
    credentials.write(web)
    broker = house.broker("--credentials", credentials.path)
    with wire.Wire(house.socket, role="worker", token="t") as client:
        for spoil in (
            lambda: credentials.write(web, "  - name: [unfinished"),
            lambda: credentials.write(web, credential("web", "worker", token="t4")),
            lambda: credentials.write(web, credential("x", "emperor", token="t5")),
            lambda: credentials.write(web, credential("x", "worker", "surprise: 1", token="t5")),
            lambda: credentials.write(probe=None),
            lambda: credentials.write(web, mode=0o644),
            lambda: credentials.path.unlink(),
        ):
            spoil()
            reload(house, broker, "credentials_failed")
            assert client.ask(wire.PING) is None
            with wire.Wire(house.socket, role="worker", token="t"):
                pass
        assert refusal(lambda: wire.Wire(house.socket, role="worker", token="t5")).code == wire.UNAUTHORIZED
    assert "those in force stay" in broker.text()


def test_reading_again_without_descriptors_changes_nothing(house, credentials):
    """CVE-2017-7652 as it was: SIGHUP while there is no descriptor left to open the file with."""
    credentials.write(credential("web", "worker", token="t"))
    broker = house.broker("--credentials", credentials.path)
    with wire.Wire(house.socket, role="worker", token="t") as client:
        limits = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{broker.pid}/fd"))
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
        credentials.write()
        broker.process.send_signal(signal.SIGHUP)
        eventually(lambda: "those in force stay" in broker.text(), "it says that it could not")
        assert client.ask(wire.PING) is None
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, limits)
        eventually(lambda: counted(house, "reloads.credentials_failed") == 1, "it accepts again")
    with wire.Wire(house.socket, role="worker", token="t") as client:
        assert client.ask(wire.PING) is None


def test_a_fresh_token_lets_in(house, credentials):
    made = house.json("token", "--role", "worker", "--role", "publish", "--name", "fresh")
    assert made["hash"] == digest(made["token"]) and len(made["token"]) >= 64
    assert made["token"] != house.json("token")["token"]
    text = house.cli("token", "--role", "worker", "--name", 'a "name"').stdout
    token = next(line for line in text.splitlines() if line.startswith("fanfare_"))
    credentials.write(text[text.index("  - name"):])
    house.broker("--credentials", credentials.path)
    with wire.Wire(house.socket, role="worker", token=token) as client:
        assert client.ask(wire.PING) is None


# Before the hello

def test_answers_to_strangers_are_bounded(house, credentials):
    """CVE-2025-21605: whoever is not let in and does not read gets one answer, not one for each request."""
    broker = house.broker("--credentials", credentials.path)
    before = broker.resident_bytes()
    links = []
    for _ in range(200):
        link = wire.dial(house.socket)
        links.append(link)
        try:
            link.sendall(wire.frame(wire.PING, 1) * 10_000)
        except (BrokenPipeError, ConnectionResetError):
            pass
    eventually(lambda: counted(house, "strangers") == 0, "they have gone")
    assert counted(house, "refused.hello_expected") == len(links)
    assert broker.resident_bytes() - before < 16 * 1024 * 1024
    for link in links:
        link.close()


def test_strangers_of_one_address_do_not_keep_others_out(house, port):
    house.broker("--listen", f"tcp://{HOST}:{port}", "--limit", "strangers_per_address=3", "--limit",
                 "hello_within_seconds=60")
    silent = [socket.create_connection((HOST, port)) for _ in range(3)]
    eventually(lambda: counted(house, "strangers") == 3, "they are counted")
    refused = refusal(lambda: wire.Wire(socket.create_connection((HOST, port))))
    assert refused.code == wire.LIMIT_REACHED and refused.retry and "strangers_per_address" in refused.text
    with wire.Wire(socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))) as other:
        assert other.ask(wire.PING) is None
    silent.pop().close()
    eventually(lambda: counted(house, "strangers") == 2, "one has gone")
    with wire.Wire(socket.create_connection((HOST, port))) as next_one:
        assert next_one.ask(wire.PING) is None
    for link in silent:
        link.close()


def test_many_attributes_and_options_cost_what_they_weigh(house):
    """Mosquitto 2.0.12: a list of user properties took time by its square."""
    house.broker()
    refused = refusal(lambda: wire.Wire(house.socket, attributes={f"k{n}": "v" for n in range(300)}))
    assert refused.code == wire.BAD_HELLO
    with wire.Wire(house.socket) as client:
        options = {f"unknown{n}": n for n in range(100_000)}
        client.ask(wire.SEND, "jobs", msgpack.packb({"n": 1}), options)
        assert client.receive("jobs") == {"n": 1}
        # As many names as a frame takes, all the same.
        client.ask(wire.GROUP_ADD, "room", ["same"] * 4_096)
        assert client.ask(wire.INSPECT, "group", {"name": "room"})["total"] == 1


# Starting

def refused_start(house, *arguments):
    return house.run("fanfare-broker", *arguments, code=78).stderr


@pytest.mark.parametrize("check", [(), ("--check-config",)])
def test_what_would_be_open_to_others_does_not_start(house, credentials, authority, check):
    files = ("--tls-certificate", *authority.sign("broker")[:1], "--tls-key", house.folder / "broker.key")
    tls, tcp = ("--listen", "tls://0.0.0.0:0", *files), ("--listen", "tcp://0.0.0.0:0")
    assert "--credentials" in refused_start(house, *tls, *check)
    assert "tls://" in refused_start(house, *tcp, *check)
    # A token on the way is a token lost.
    assert "tls://" in refused_start(house, *tcp, "--credentials", credentials.path, *check)
    assert "--tls-certificate" in refused_start(house, "--listen", f"tls://{HOST}:0", *check)
    assert "--tls-key" in refused_start(house, "--listen", f"tls://{HOST}:0", *files[:2], *check)
    assert "no endpoint" in refused_start(house, "--listen", f"tcp://{HOST}:0", *files, *check)
    assert "socket_mode" in refused_start(house, "--listen", house.endpoint, "--socket-mode", "0666", *check)
    assert "socket_mode" in refused_start(house, "--listen", house.endpoint, "--socket-mode", "rw", *check)
    assert "no group" in refused_start(house, "--listen", house.endpoint, "--socket-group", "no-such-group", *check)


def test_credentials_and_keys_that_others_can_read_do_not_start(house, credentials, authority):
    certificate, key = authority.sign("broker")
    listen = ("--listen", house.endpoint, "--listen", f"tls://{HOST}:0", "--tls-certificate", certificate, "--tls-key",
              key, "--credentials", credentials.path, "--check-config")
    assert "1 credentials" in house.run("fanfare-broker", *listen).stdout
    for path in (credentials.path, key):
        for mode in (0o604, 0o620, 0o644, 0o666):
            path.chmod(mode)
            assert str(path) in refused_start(house, *listen)
        path.chmod(0o640)
        house.run("fanfare-broker", *listen)
    credentials.path.unlink()
    assert str(credentials.path) in refused_start(house, *listen)


@pytest.mark.parametrize("entry, text", {
    "an unknown key": (credential("x", "worker", "role: admin", token="t"), "unknown key"),
    "no proof": (credential("x", "worker"), "nobody"),
    "no role": (credential("x", "", token="t"), "no role"),
    "an unknown role": (credential("x", "root", token="t"), "root"),
    "a token itself": (credential("x", "worker", "tokens: [fanfare_secret]"), "no hash"),
    "an unknown user": (credential("x", "worker", "unix_users: [no-such-user]"), "no-such-user"),
    "the same token twice": (credential("x", "worker", token="t") + "\n" + credential("y", "worker", token="t"), "same"),
    "a pattern of nothing": (credential("x", "worker", "groups:", '  join: [""]', token="t"), "groups.join"),
}.values())
def test_credentials_that_are_wrong_do_not_start(house, credentials, entry, text):
    credentials.write(entry)
    said = refused_start(house, "--listen", house.endpoint, "--credentials", credentials.path, "--check-config")
    assert text in said and f"{credentials.path}:" in said and "fanfare_secret" not in said


def test_the_socket_has_its_mode_and_group(house):
    group = next((entry.gr_gid for entry in grp.getgrall() if entry.gr_gid != os.getegid()), os.getegid())
    if os.geteuid() != 0:
        group = os.getegid()
    house.broker("--socket-mode", "0620", "--socket-group", str(group))
    facts = os.stat(house.socket)
    assert (stat.S_IMODE(facts.st_mode), facts.st_gid) == (0o620, group)
