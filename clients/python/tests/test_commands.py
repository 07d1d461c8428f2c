"""`python -m fanfare_channels`: what users run, as they run it."""

import os
import socket
import subprocess
import sys
import threading

import pytest


def run(folder, *arguments, **environment):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("FANFARE_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, "-m", "fanfare_channels", *arguments],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def write_settings(folder, text):
    (folder / "project_settings.py").write_text(f'SECRET_KEY = "x"\nCHANNEL_LAYERS = {text}\n')


def assert_wrong(done, words):
    assert done.returncode == 78, done.stdout + done.stderr
    assert words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_check_finds_a_good_project_good(broker, folder):
    write_settings(
        folder,
        f"""{{
            "default": {{"BACKEND": "fanfare_channels.FanfareChannelLayer", "CONFIG": {{"hosts": ["{broker.url}"]}}}},
            "other": {{"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        }}""",
    )
    done = run(folder, "check", "--settings", "project_settings")
    assert done.returncode == 0, done.stderr
    assert "connected to fanfare-broker/" in done.stdout
    assert "other: channels.layers.InMemoryChannelLayer is no Fanfare layer" in done.stdout
    assert done.stdout.endswith("all good\n")


OPTIONS = {
    '{"hosts": ["redis://localhost:6379"]}': "is a Redis server",
    '{"hosts": [{"sentinels": [("a", 1)], "master_name": "m"}]}': "is Redis Sentinel",
    '{"hosts": "unix:/x"}': "hosts is a list",
    '{"url": ["unix:/x"]}': "is no broker: write unix:/path",
    '{"prefix": "a:b"}': "the prefix 'a:b'",
    '{"capacity": 0}': "capacity is a whole number",
    '{"channel_capacity": {__import__("re").compile("a{3}"): 1}}': "cannot be said as a glob",
    '{"serializer_format": "yaml"}': "yaml",
    '{"capcity": 3}': "unknown option 'capcity': is 'capacity' meant?",
    '{"on_disconnect": "redis.disconnect"}': "leave it out: the layer connects again by itself",
    "None": "['CONFIG'] is a dict of options",
}


@pytest.mark.parametrize("config, words", OPTIONS.items())
def test_check_says_what_is_wrong_with_the_options(folder, config, words):
    write_settings(folder, f'{{"default": {{"BACKEND": "fanfare_channels.FanfareChannelLayer", "CONFIG": {config}}}}}')
    assert_wrong(run(folder, "check", DJANGO_SETTINGS_MODULE="project_settings"), words)


LAYERS = {
    '{"default": {"BACKEND": "channels_redis.kore.RedisChannelLayer"}}': "Fanfare's is 'fanfare_channels.Fanfare",
    '{"default": {"BACKEND": "fanfare_channels.Layer"}}': "Fanfare's is 'fanfare_channels.FanfareChannelLayer'",
    '{"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}': 'no layer has the BACKEND "fanfare_channels',
    '{"default": {"BACKEND": "fanfare_channels.FanfareChannelLayer", "hosts": []}}': "options belong into CONFIG",
    '{"default": {"CONFIG": {}}}': "has no BACKEND; write {",
    '{"BACKEND": "fanfare_channels.FanfareChannelLayer"}': "names of layers, and a dict for each",
    "{}": "have no CHANNEL_LAYERS",
    'os.environ["NOPE"]': "NameError",
}


@pytest.mark.parametrize("layers, words", LAYERS.items())
def test_check_says_what_is_wrong_with_the_settings(folder, layers, words):
    write_settings(folder, layers)
    assert_wrong(run(folder, "check", "--settings", "project_settings"), words)


def test_check_says_how_settings_are_named(folder):
    assert_wrong(run(folder, "check", "--settings", "mysite/settings.py"), "Name a module, such as mysite.settings")
    done = run(folder, "check", FANFARE_BROKER="localhost:7411")
    assert_wrong(done, "$FANFARE_BROKER: 'localhost:7411' is no broker")


def test_check_says_where_no_broker_is(folder):
    done = run(folder, "check", "--url", f"unix:{folder}/nobody.sock")
    assert_wrong(done, "nobody.sock")
    assert f"Start one (fanfare-broker --listen unix:{folder}/nobody.sock)" in done.stderr


@pytest.mark.parametrize("answer", [b"", b"-ERR unknown command\r\n"])
def test_check_says_that_something_else_listens(folder, answer):
    """A server that waits for more, and a Redis server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def serve():
            for _ in range(20):
                connection, _ = server.accept()
                connection.sendall(answer)
                kept.append(connection)

        threading.Thread(target=serve, daemon=True).start()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done = run(folder, "check", "--url", url)
        assert_wrong(done, f"Something listens at {url}: if it is no Fanfare broker")
        for connection in kept:
            connection.close()


def test_check_says_who_else_is_at_the_broker(broker, folder, make_layer):
    for prefix, count in (("default", 2), ("shop", 1)):
        for _ in range(count):
            make_layer(prefix=prefix).send_sync("work", {})
    done = run(folder, "check", "--url", broker.url)
    assert "other processes connected with the prefix 'default': 2\n" in done.stdout
    assert "share nothing" not in done.stdout


def test_check_notes_what_the_brokers_own_limits_have_changed(broker, folder):
    write_settings(
        folder,
        f"""{{"default": {{"BACKEND": "fanfare_channels.FanfareChannelLayer",
            "CONFIG": {{"url": "{broker.url}", "expiry": 10_000_000}}}}}}""",
    )
    done = run(folder, "check", "--settings", "project_settings")
    assert "note: expiry_milliseconds is 86400000, not 10000000000" in done.stdout


def test_bench_measures_the_configured_layers(broker, folder):
    arguments = ["--rounds", "1", "--scale", "0.05", "--layer", "memory=channels.layers.InMemoryChannelLayer"]
    done = run(folder, "bench", "--url", broker.url, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("send, receive", "64 in flight", "group of 1000, 2 processes", "memory", "bare"):
        assert word in done.stdout
