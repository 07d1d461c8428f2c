"""Configuration files, completion, examples and manual pages, as the command line has them."""
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess

import pytest

import wire
from programs import eventually

DECLINED, USAGE, UNAVAILABLE, CONFIGURATION = 1, 64, 69, 78
HOUSE = pathlib.Path(__file__).parent.parent.parent
PROGRAMS = ["broker", "worker"]


def uncommented(sample):
    return re.sub(r"(?m)^( *)#(?=[^ #\n])", r"\1", sample)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_default_file_says_the_defaults(house, program):
    sample = house.cli("config", "default", program).stdout
    assert all(line.lstrip().startswith("#") for line in sample.splitlines() if line)
    file = house.folder / "sample.yaml"
    file.write_text(uncommented(sample))
    assert "\nlimits:\n" in file.read_text()
    printed = house.run(f"fanfare-{program}", "--print-config").stdout
    assert house.run(f"fanfare-{program}", "--print-config", "--config", file).stdout == printed
    settings = house.json("config", "default", program)
    assert {"name", "takes", "explanation"} <= set(settings[0])


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_file_is_checked(house, program):
    file = house.folder / "file.yaml"
    file.write_text("log_level: debug\n")
    assert "configuration is valid" in house.cli("config", "check", file, "--for", program).stdout
    assert house.json("config", "check", file, "--for", program)["valid"] is True
    file.write_text("log_level: loud\n")
    refused = house.cli("config", "check", file, "--for", program, code=CONFIGURATION)
    assert refused.stderr.startswith(f"fanfare: {file}:1: log_level") and refused.stdout == ""
    answer = json.loads(house.cli("config", "check", file, "--for", program, "--json", code=CONFIGURATION).stdout)
    assert answer["valid"] is False and answer["problem"] in refused.stderr
    house.cli("config", "check", house.folder / "none.yaml", "--for", program, code=CONFIGURATION)
    house.cli("config", "check", file, code=USAGE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_reference_names_every_setting(house, program):
    reference = house.cli("config", "doc", program).stdout
    for setting in house.json("config", "doc", program):
        assert f"- **`{setting['name']}`** {setting['explanation']}" in reference
    part = house.cli("config", "doc", program, "--section", "limits").stdout
    assert "## limits" in part and len(part) < len(reference)
    assert {setting["section"] for setting in house.json("config", "doc", program, "--section", "limits")} == {"limits"}
    assert "limits" in house.cli("config", "doc", program, "--section", "bogus", code=USAGE).stderr


def test_a_program_that_is_not_installed_is_said_to_be_missing(house):
    alone = house.folder / "alone"
    alone.mkdir()
    copy = alone / "fanfare"
    shutil.copy(house.binaries / "fanfare", copy)
    done = subprocess.run([copy, "config", "default", "broker"], env={"PATH": "/nonexistent"}, capture_output=True, text=True)
    assert done.returncode == UNAVAILABLE and "fanfare-broker cannot be run" in done.stderr


def complete(house, *words):
    """What a shell would offer for the last of `words`, which begin with the command and the option before it."""
    command, position = words[0], words[-2] if words[-2].startswith("--") else f"positional@{len(words) - 2}"
    line = ["fanfare", *words]
    done = house.cli("---completion", command, "--", position, len(line) - 1, len(words[-1]), *line)
    return done.stdout.split()


def test_names_are_completed_by_the_living_broker(house, broker):
    with wire.Wire(house.socket, name="newsroom", role="worker", node="n") as owner:
        owner.ask(wire.OPEN_CHANNELS, [["specific.n!1", {}]])
        for group in ("news", "newt", "weather"):
            owner.ask(wire.GROUP_ADD, group, ["specific.n!1"])
        assert complete(house, "group", "new") == ["news", "newt"]
        assert complete(house, "channel", "spec") == ["specific.n!1"]
        assert complete(house, "kick", "") == ["newsroom"], "who asks is not among them"
        with wire.Wire(house.socket, name="admin", role="admin"):
            assert complete(house, "kick", "") == ["admin", "newsroom"]
            assert complete(house, "drain", "worker", "") == ["newsroom"]
            assert complete(house, "drain", "broker", "") == []
        assert complete(house, "group", "nothing") == []
        house.cli("---completion", "group", "--", "positional@0", 2, 0, "fanfare", "group", "")
    broker.terminate()
    assert complete(house, "group", "new") == []


def test_columns_are_completed(house):
    assert complete(house, "groups", "--columns", "group,mem") == ["group,members"]
    assert complete(house, "channels", "--columns", "re") == ["readers", "remote"]
    assert complete(house, "workers", "--sort", "l") == ["lag", "link"]
    assert complete(house, "workers", "--columns", "pi") == ["pid"] and complete(house, "workers", "--sort", "pi") == []


def test_bash_takes_the_script(house):
    script = house.cli("completion", "bash").stdout

    def offered(*words):
        line = " ".join(words)
        given = " ".join(word or "''" for word in words)
        setting = f'COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}; COMP_LINE="{line}"'
        # What is called, the word, and the one before it.
        call = f"_fanfare fanfare '{words[-1]}' '{words[-2]}'"
        done = subprocess.run(
            ["bash", "-c", f'{script}\n{setting}; COMP_POINT={len(line)}; {call}; echo "${{COMPREPLY[@]}}"'],
            capture_output=True, text=True, timeout=60,
            env={**house.environment, "PATH": f"{house.binaries}:{os.environ['PATH']}"},
        )
        return set(done.stdout.split())

    assert {"context", "config"} <= offered("fanfare", "con")
    assert {"group", "channel"} <= offered("fanfare", "tail", "")
    assert {"full", "owner_gone"} <= offered("fanfare", "drops", "--reason", "")
    assert {"kicked", "goodbye"} <= offered("fanfare", "closed", "--reason", "")
    assert "depth" in offered("fanfare", "channels", "--sort", "de")
    for shell, sign in (("zsh", "#compdef fanfare"), ("fish", "complete -c 'fanfare'")):
        assert sign in house.cli("completion", shell).stdout
    house.cli("completion", "tcsh", code=USAGE)


def test_cheat_has_examples_by_topic(house):
    topics = house.json("cheat")
    assert len(topics) >= 10
    for topic in topics:
        assert topic["topic"] in house.cli("cheat").stdout
        examples = house.json("cheat", topic["topic"])["examples"]
        text = house.cli("cheat", topic["topic"]).stdout
        assert examples and all(example["lines"] in text and f"# {example['purpose']}" in text for example in examples)
    assert 'did you mean "drops"' in house.cli("cheat", "drop", code=USAGE).stderr


def asked(house, answer, *arguments):
    """Runs a command with a terminal as its input; what it said, and its exit code."""
    ours, theirs = pty.openpty()
    command = [str(house.binaries / "fanfare"), *arguments]
    with subprocess.Popen(command, env=house.environment, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as running:
        os.close(theirs)
        os.write(ours, answer.encode() + b"\n")
        said = running.communicate(timeout=30)[0]
    os.close(ours)
    return said, running.returncode


def test_what_ends_things_asks_at_a_terminal(house, broker):
    with wire.Wire(house.socket, name="newsroom", role="worker", node="n"):
        said, code = asked(house, "no", "kick", "newsroom", "--reason", "x")
        assert "nothing was done" in said and code == DECLINED and len(house.rows("workers")) == 1
        said, _ = asked(house, "yes", "kick", "newsroom", "--reason", "x")
        assert "(newsroom) has ended" in said and house.rows("workers") == []
    said, code = asked(house, "", "drain", "broker")
    assert "nothing was done" in said and code == DECLINED and broker.is_running()
    assert "the broker stops" in asked(house, "", "drain", "broker", "--yes")[0]
    eventually(lambda: not broker.is_running(), "the broker ends")


def test_help_is_of_commands_there_are(house):
    assert "--cursor" in house.cli("help", "groups").stdout and "--select" in house.cli("help", "context", "add").stdout
    assert "flush" in house.cli("help").stdout
    assert 'did you mean "groups"' in house.cli("help", "gruops", code=USAGE).stderr
    for unknown in (["bogus"], ["groups", "bogus"], ["context", "bogus"]):
        refused = house.cli("help", *unknown, code=USAGE)
        assert refused.stdout == "" and f'"{" ".join(unknown)}"' in refused.stderr


def test_one_form_of_output_is_chosen(house, broker):
    for words in (["groups", "--json", "--jsonl"], ["check", "broker", "--format", "nagios", "--json"],
                  ["check", "broker", "--format", "text", "--jsonl"]):
        assert "leave" in house.cli(*words, code=USAGE).stderr
    assert json.loads(house.cli("check", "broker", "--format", "json", "--json").stdout)


def test_manual_pages_are_written_from_the_programs(house):
    folder = house.folder / "man"
    assert "FOLDER" in subprocess.run([HOUSE / "scripts/manuals", "--help"], check=True, capture_output=True, text=True).stdout
    subprocess.run([HOUSE / "scripts/manuals", folder], check=True, env={**house.environment, "FANFARE_BIN": str(house.binaries)})
    pages = {page.name: page.read_text() for page in folder.iterdir()}
    assert set(pages) == {"fanfare.1", "fanfare-broker.8", "fanfare-worker.8", "fanfare-broker.yaml.5",
                          "fanfare-worker.yaml.5", "fanfare-protocol.7"}
    for name, page in pages.items():
        assert ".SH NAME\n" in page and ".SH SEE ALSO\n" in page, name
    commands = house.run("fanfare", "--experimental-dump-help").stdout
    for command in json.loads(commands)["command"]["subcommands"]:
        if command["commandName"] != "help" and not command.get("subcommands"):
            assert f".SS \\fB{command['commandName']}\\fP".replace("-", "\\-") in pages["fanfare.1"], command["commandName"]
