"""What the documentation says exists: links, anchors, commands, flags, settings."""
import json
import pathlib
import re
import shlex
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGES = sorted(
    [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", ROOT / "clients/python/README.md"]
    + [page for folder in ("docs", "scripts", "proto") for page in (ROOT / folder).glob("**/*.md")]
)
PROGRAMS = ("fanfare", "fanfare-broker", "fanfare-worker", "fanfare-bench")
FENCE = re.compile(r"^ *(```+)(\w*)[^\n]*\n(.*?)^ *\1 *$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?\)")
# What separates the commands of a line of shell.
SEPARATORS = {"|", "||", "&&", ";", "&", "do", "done", "(", ")"}


def name(page):
    return str(page.relative_to(ROOT))


def fences(page):
    """The fenced blocks of a page, as language and text."""
    return [(match[2], match[3]) for match in FENCE.finditer(page.read_text())]


def prose(page):
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    found = {}
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = "".join(letter for letter in text if letter.isalnum() or letter in " -_").replace(" ", "-")
        number = found.get(slug, 0)
        found[slug] = number + 1
        if number:
            found[f"{slug}-{number}"] = 1
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page):
    broken = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            broken.append(f"{link}: there is no {path}")
        elif anchor and anchor not in anchors(target):
            broken.append(f"{link}: {name(target)} has no heading for #{anchor}")
    assert not broken, "\n".join(broken)


def test_every_page_is_in_the_index():
    linked = {link.partition("#")[0] for link in LINK.findall((ROOT / "docs/README.md").read_text())}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= linked


def test_every_alert_has_its_section_in_the_runbook():
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "docs/monitoring/alerts.yaml").read_text())
    assert alerts and {alert.lower() for alert in alerts} <= anchors(ROOT / "docs/operations.md")


class Command:
    """A program or subcommand with what it accepts, from its --experimental-dump-help."""

    def __init__(self, description):
        self.flags = {"--help", "-h", "--version"}
        for argument in description.get("arguments", []):
            for flag in argument.get("names") or []:
                self.flags.add(("-" if flag["kind"] == "short" else "--") + flag["name"])
        parts = [part for part in description.get("subcommands", []) if part["commandName"] != "help"]
        self.subcommands = {part["commandName"]: Command(part) for part in parts}


@pytest.fixture(scope="module")
def commands(binaries):
    known = {}
    for program in PROGRAMS:
        if (binaries / program).exists():
            dump = subprocess.check_output([binaries / program, "--experimental-dump-help"])
            known[program] = Command(json.loads(dump)["command"])
    assert {"fanfare", "fanfare-broker", "fanfare-worker"} <= set(known)
    return known


def words(line):
    """The words of a line of shell, without its comment; those of prose in a block may be no shell at all."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()")
        lexer.whitespace_split, lexer.commenters = True, "#"
        return list(lexer)
    except ValueError:
        return re.sub(r"['\"]", "", line).split()


def invocations(line):
    """Each call of a program in a line, as its words."""
    call = None
    for word in words(line.strip().removeprefix("$ ")) + [";"]:
        if word in SEPARATORS:
            if call:
                yield call
            call = None
        elif call is not None:
            call.append(word)
        elif pathlib.PurePath(word).name in PROGRAMS and "=" not in word:
            call = [pathlib.PurePath(word).name]
        elif word in ("swift", "run", "sudo", "time", "exec", "watch") or re.match(r"[A-Z_]+=", word):
            continue
        else:
            call = []


def faults(call, commands):
    """What a call has that its program does not."""
    program, *rest = call
    command, path, is_command = commands.get(program), program, True
    if command is None:
        return
    for word in (word.strip("[],…") for word in rest):
        if re.match(r"--?[A-Za-z]", word):
            flag = word.partition("=")[0]
            if flag not in command.flags:
                yield f"{path} has no {flag}"
            is_command = False
        elif is_command and command.subcommands:
            if word == "help" or not re.fullmatch(r"[a-z][a-z-]*", word):
                return
            if word not in command.subcommands:
                yield f"{path} has no subcommand {word}"
                return
            command, path = command.subcommands[word], f"{path} {word}"


def lines_of(page):
    """Lines of shell in a page: those of its blocks without language or in a shell's, and code in its text."""
    for language, text in fences(page):
        if language in ("", "sh", "bash", "console"):
            yield from re.sub(r"\\\n\s*", " ", text).splitlines()
        elif language == "ini":
            for line in text.splitlines():
                if line.startswith("Exec") and "=" in line:
                    yield line.partition("=")[2]
    yield from SPAN.findall(prose(page))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_of_a_page_exists_with_its_flags(page, commands):
    wrong = []
    for line in lines_of(page):
        for call in invocations(line):
            if call and call[0] in commands:
                wrong += [f"{line.strip()}: {fault}" for fault in faults(call, commands)]
    assert not wrong, "\n".join(wrong)


def test_a_command_or_flag_that_does_not_exist_is_noticed(commands):
    def found(line):
        return [fault for call in invocations(line) for fault in faults(call, commands)]

    assert found("fanfare groups --sort members | head") == []
    assert found("fanfare nonsense") == ["fanfare has no subcommand nonsense"]
    assert found("$ FANFARE_TOKEN=x fanfare groups --nonsense 5") == ["fanfare groups has no --nonsense"]
    assert found("sudo fanfare-broker --listen unix:/x --nonsense=1  # --more") == ["fanfare-broker has no --nonsense"]
    assert found("true && swift run fanfare-worker --nonsense") == ["fanfare-worker has no --nonsense"]


def test_the_reference_of_the_broker_is_what_the_broker_prints(binaries):
    printed = subprocess.check_output([binaries / "fanfare-broker", "--print-config"], text=True)
    settings = printed.partition("\n\n")[2].rstrip("\n")
    page = (ROOT / "docs/broker-configuration.md").read_text()
    assert f"```yaml\n{settings}\n```\n" in page, "run scripts/document-settings"


def configurations(page):
    """The YAML blocks of a page that configure Fanfare, with the program they are for."""
    for language, text in fences(page):
        keys = set(re.findall(r"^(\w+):", text, re.MULTILINE))
        if language != "yaml" or keys & {"scrape_configs", "groups", "services", "apiVersion"}:
            continue
        is_credentials = re.search(r"^credentials:\s*\n", text, re.MULTILINE)
        is_broker = re.match(r"# \S*broker\S*\.yaml", text) or page.name == "broker-configuration.md"
        yield "credentials" if is_credentials else "fanfare-broker" if is_broker else "fanfare-worker", text


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with what configurations name: a secret, certificates, credentials."""
    folder = tmp_path_factory.mktemp("etc")
    (folder / "secret").write_text("a secret of more than thirty-two characters, as Django makes them\n")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", folder / "broker.key", "-out", folder / "broker.pem"],
        check=True, capture_output=True,
    )
    (folder / "clients.pem").write_text((folder / "broker.pem").read_text())
    credentials = "credentials:\n  - name: root\n    unix_users: [root]\n    roles: [admin]\n"
    (folder / "credentials.yaml").write_text(credentials)
    for file in folder.iterdir():
        file.chmod(0o600)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if list(configurations(page))], ids=name)
def test_every_configuration_of_a_page_is_valid(page, binaries, files, tmp_path):
    for program, text in configurations(page):
        text = text.replace("/etc/fanfare/", f"{files}/").replace("/var/lib/fanfare/", f"{tmp_path}/")
        # An elided hash, and users and groups of other machines.
        text = text.replace("sha256:…", "sha256:" + "0" * 64)
        text = re.sub(r"unix_users: .*", "unix_users: [root]", re.sub(r"unix_groups: .*", "unix_groups: [root]", text))
        file = tmp_path / "configuration.yaml"
        file.write_text(text)
        file.chmod(0o600)
        arguments = ["--config", file]
        if program == "credentials":
            program, arguments = "fanfare-broker", ["--listen", f"unix:{tmp_path}/b.sock", "--credentials", file]
        secret = {} if "secret_file: /" in text else {"FANFARE_TOKEN_SECRET": "a secret for blocks that name none"}
        done = subprocess.run(
            [binaries / program, *arguments, "--check-config"], capture_output=True, text=True,
            env={"PATH": "/usr/bin:/bin"} | secret,
        )
        assert done.returncode == 0, f"{done.stderr}\n{text}"
