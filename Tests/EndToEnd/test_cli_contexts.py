"""Contexts of the command line: brokers with credentials under names, kept where nobody else reads them."""
import hashlib
import json
import os
import pty
import stat
import subprocess

import pytest

from programs import HOST, free_port

CONFIGURATION, USAGE, UNAVAILABLE = 78, 64, 69
TOKEN = "ff_of_the_end_to_end_test"


@pytest.fixture
def home(house):
    """No broker in the environment, and a place for contexts of this test's own."""
    house.environment.pop("FANFARE_BROKER")
    house.environment["XDG_CONFIG_HOME"] = str(house.folder / "config")
    return house


@pytest.fixture
def file(home):
    return home.folder / "config/fanfare/contexts.yaml"


@pytest.fixture
def secured(home):
    """A broker that lets in who shows the token, over TCP, and nobody else."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    credentials = home.folder / "credentials.yaml"
    credentials.write_text(
        f'credentials:\n  - name: operator\n    roles: [admin, inspect]\n    tokens: ["sha256:{digest}"]\n'
        f"  - name: probe\n    roles: [admin]\n    unix_users: [{os.geteuid()}]\n"
    )
    credentials.chmod(0o600)
    endpoint = f"tcp://{HOST}:{free_port()}"
    home.broker("--credentials", credentials, "--listen", endpoint)
    return endpoint


def test_a_context_brings_broker_and_token(home, file, secured):
    home.cli("status", "--broker", secured, code=UNAVAILABLE)
    home.cli("context", "add", "office", "--broker", secured, "--read-token", "--note", "the office", text=TOKEN + "\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert f'token: "{TOKEN}"' in file.read_text() and "selected" not in file.read_text()
    assert secured in home.json("--context", "office", "status")["endpoints"]
    home.environment["FANFARE_CONTEXT"] = "office"
    assert home.json("groups")["rows"] == []
    del home.environment["FANFARE_CONTEXT"]
    assert home.json("context", "select", "office") == {"selected": "office"}
    assert home.json("check", "broker")["state"] == "ok"
    # Its token goes to nobody else, whoever is asked.
    home.cli("status", "--broker", secured, code=UNAVAILABLE)
    # The context is whole: the environment adds nothing to it.
    home.environment["FANFARE_TOKEN"] = "ff_of_somebody_else"
    assert home.json("groups")["rows"] == []


def test_a_token_file_is_found_from_every_folder(home, file, secured):
    token = home.folder / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    command = [str(home.binaries / "fanfare"), "context", "add", "office", "--broker", secured, "--token-file", "token", "--select",
               "--role", "inspect"]
    subprocess.run(command, cwd=home.folder, env=home.environment, check=True, capture_output=True)
    assert home.json("workers", "--all")["rows"][0]["role"] == "inspect"
    assert "forbidden" in home.cli("flush", "--namespace", "default", "--yes", code=UNAVAILABLE).stderr


def test_a_file_that_cannot_be_used_is_no_broker_that_is_away(home, secured):
    token = home.folder / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o644)
    tls = secured.replace("tcp://", "tls://")
    for broker, *wrong in ((secured, "--token-file", token), (secured, "--token-file", home.folder / "none"),
                           (tls, "--ca-file", token), (tls, "--certificate-file", token, "--key-file", token)):
        for command in (["status"], ["check", "broker"]):
            refused = home.cli(*command, "--broker", broker, *wrong, code=CONFIGURATION).stderr
            assert str(wrong[1]) in refused and "no broker" not in refused and len(refused.splitlines()) == 1
    token.chmod(0o600)
    assert home.json("status", "--broker", secured, "--token-file", token)["sessions"] >= 1
    # One broker of several that can be dialled is enough.
    assert home.json("status", "--broker", "tcp://192.0.2.1:7411", "--broker", secured, "--token-file", token)["sessions"] >= 1


def test_contexts_are_listed_shown_selected_and_removed(home, file):
    assert "no contexts" in home.cli("context", "list").stdout and home.json("context", "list")["contexts"] == []
    home.cli("context", "add", "one", "--broker", "unix:/one", "--select")
    home.cli("context", "add", "two", "--broker", "unix:/two", "--broker", "unix:/three", "--namespace", "shop",
             "--read-token", text=TOKEN)
    table = home.cli("context", "list").stdout
    assert {"NAME", "BROKER", "CREDENTIALS"} <= set(table.split()) and TOKEN not in table
    assert [line.split()[:2] for line in table.splitlines() if line.startswith("*")] == [["*", "one"]]
    listed = home.json("context", "list")
    assert (listed["selected"], [context["name"] for context in listed["contexts"]]) == ("one", ["one", "two"])
    assert TOKEN not in json.dumps(listed)
    assert TOKEN not in home.cli("context", "show", "two").stdout + home.cli("context", "show", "two", "--json").stdout
    shown = home.json("context", "show", "two", "--reveal-token")
    assert (shown["token"], shown["brokers"], shown["namespace"]) == (TOKEN, ["unix:/two", "unix:/three"], "shop")
    assert "unix:/one" in home.cli("context", "show").stdout
    home.cli("context", "select", "two")
    assert home.json("context", "previous") == {"selected": "one"}
    assert "context two is in use" in home.cli("context", "previous").stdout
    assert home.json("context", "remove", "two") == {"removed": "two"}
    assert home.json("context", "list")["selected"] is None
    assert "no context" in home.cli("context", "show", "two", code=CONFIGURATION).stderr


def test_a_context_that_holds_a_token_is_not_forgotten_by_mistake(home, file):
    home.cli("context", "add", "two", "--broker", "unix:/two", "--read-token", text=TOKEN)
    ours, theirs = pty.openpty()
    command = [str(home.binaries / "fanfare"), "context", "remove", "two"]
    with subprocess.Popen(command, env=home.environment, stdin=theirs, stderr=subprocess.PIPE, text=True) as asked:
        os.close(theirs)
        os.write(ours, b"no\n")
        assert "nothing was done" in asked.communicate(timeout=30)[1]
    os.close(ours)
    assert "two" in file.read_text()


def test_a_token_typed_at_a_terminal_is_not_shown(home, file):
    command = [str(home.binaries / "fanfare"), "context", "add", "one", "--broker", "unix:/one", "--read-token"]
    process, terminal = pty.fork()
    if process == 0:
        os.execve(command[0], command, home.environment)
    said = b""
    while not said.endswith(b"Token: "):
        said += os.read(terminal, 1_024)
    os.write(terminal, TOKEN.encode() + b"\n")
    try:
        while chunk := os.read(terminal, 1_024):
            said += chunk
    except OSError:
        pass  # how Linux tells that the other side has ended
    assert os.waitpid(process, 0)[1] == 0 and b"added context one" in said and TOKEN.encode() not in said
    assert home.json("context", "show", "one", "--reveal-token")["token"] == TOKEN


def test_what_cannot_be_used_is_said_in_one_line(home, file):
    home.cli("context", "add", "one", "--broker", "unix:/one", "--select")
    assert "--replace" in home.cli("context", "add", "one", "--broker", "unix:/1", code=USAGE).stderr
    home.cli("context", "add", "one", "--broker", "unix:/1", "--replace")
    assert home.json("context", "show", "one")["brokers"] == ["unix:/1"]
    home.cli("context", "add", "two words", "--broker", "unix:/1", code=CONFIGURATION)
    home.cli("context", "add", "wrong", "--broker", "http://1", code=CONFIGURATION)
    home.cli("context", "add", "nothing", code=USAGE)
    assert 'did you mean "one"' in home.cli("--context", "onne", "ping", code=CONFIGURATION).stderr
    file.chmod(0o644)
    refused = home.cli("ping", code=CONFIGURATION).stderr
    assert "chmod" in refused and str(file) in refused and len(refused.splitlines()) == 1
    home.cli("ping", "--broker", "unix:/nonexistent/broker.sock", code=UNAVAILABLE)
    file.chmod(0o600)
    file.write_text("contexts:\n  - name: one\n    brokers: [nowhere]\n")
    assert f"{file}:2" in home.cli("context", "list", code=CONFIGURATION).stderr


def test_two_changes_at_once_are_both_kept(home, file):
    names = [f"context-{number}" for number in range(12)]
    command = str(home.binaries / "fanfare"), "context", "add"
    adding = [subprocess.Popen([*command, name, "--broker", "unix:/b"], env=home.environment, stdout=subprocess.DEVNULL)
              for name in names]
    assert [process.wait(60) for process in adding] == [0] * len(names)
    assert {context["name"] for context in home.json("context", "list")["contexts"]} == set(names)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
