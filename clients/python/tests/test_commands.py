"""`python -m fanfare_channels`: what users run, as they run it."""

import os
import subprocess
import sys


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


def test_check_says_what_is_wrong_with_the_settings(folder):
    for config, words in {
        '{"hosts": ["redis://localhost:6379"]}': "is a Redis server",
        '{"hosts": "unix:/x"}': "hosts is a list",
        '{"prefix": "a:b"}': "the prefix 'a:b'",
        '{"capacity": 0}': "capacity is a whole number",
        '{"channel_capacity": {__import__("re").compile("a{3}"): 1}}': "cannot be said as a glob",
        '{"serializer_format": "yaml"}': "yaml",
        '{"capcity": 3}': "capcity",
    }.items():
        write_settings(
            folder, f'{{"default": {{"BACKEND": "fanfare_channels.FanfareChannelLayer", "CONFIG": {config}}}}}'
        )
        done = run(folder, "check", DJANGO_SETTINGS_MODULE="project_settings")
        assert done.returncode == 78
        assert words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_check_says_where_no_broker_is(folder):
    done = run(folder, "check", "--url", f"unix:{folder}/nobody.sock")
    assert done.returncode == 78
    assert "nobody.sock" in done.stderr
    assert "fanfare-broker --listen" in done.stderr


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
