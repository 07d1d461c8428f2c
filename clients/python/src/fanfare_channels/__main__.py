"""`python -m fanfare_channels check` and `python -m fanfare_channels bench`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Dict, List, Optional

from . import bench
from .check import Wrong, check
from .layer import FanfareChannelLayer

EX_UNAVAILABLE, EX_CONFIG = 69, 78
BACKEND = "fanfare_channels.FanfareChannelLayer"


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs a command and returns its exit code: 0, or one of sysexits.h."""
    parsed = _parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except Wrong as wrong:
        print(f"fanfare_channels: {wrong}", file=sys.stderr)
        return EX_CONFIG
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fanfare_channels", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="validate settings and the connection, and say what is wrong")
    checking.set_defaults(run=_check)
    benching = commands.add_parser("bench", help="compare the configured layers on this machine")
    benching.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turns (3)")
    benching.add_argument("--scale", type=float, default=1.0, help="how much is measured in a round (1.0)")
    benching.add_argument("--only", default="", help="only scenarios whose name contains this")
    benching.add_argument(
        "--layer",
        action="append",
        default=[],
        metavar="NAME=CLASS[=JSON]",
        help="a layer besides the configured ones: its class and settings",
    )
    benching.set_defaults(run=_bench)
    for command in (checking, benching):
        command.add_argument("--settings", help="the Django settings module ($DJANGO_SETTINGS_MODULE)")
        command.add_argument("--url", help="no Django: one broker, at unix:/path or tcp://host:port")
    return parser


def _configured(parsed: argparse.Namespace) -> Dict[str, Dict[str, Any]]:
    """`CHANNEL_LAYERS` of the Django project, or nothing when none is named."""
    if parsed.url:
        return {"default": {"BACKEND": BACKEND, "CONFIG": {"url": parsed.url}}}
    if parsed.settings:
        os.environ["DJANGO_SETTINGS_MODULE"] = parsed.settings
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return {}
    # As manage.py does: the project's folder is where the command is run.
    sys.path.insert(0, os.getcwd())
    from django.conf import settings

    named = os.environ["DJANGO_SETTINGS_MODULE"]
    try:
        layers = getattr(settings, "CHANNEL_LAYERS", {})
    except Exception as error:  # Settings are code: they may raise anything.
        raise Wrong(
            f"the settings {named!r} cannot be imported: {type(error).__name__}: {error}\n"
            "Name a module, such as mysite.settings, in the folder of manage.py"
        ) from error
    if not layers:
        raise Wrong(f"the settings {named!r} have no CHANNEL_LAYERS")
    _check_shape(layers)
    return layers


def _check_shape(layers: Any) -> None:
    """Whether `CHANNEL_LAYERS` is what Channels reads. It ignores what it does not know, and so hides mistakes."""
    example = f'{{"default": {{"BACKEND": "{BACKEND}"}}}}'
    if not isinstance(layers, dict) or not all(isinstance(layer, dict) for layer in layers.values()):
        raise Wrong(f"CHANNEL_LAYERS has names of layers, and a dict for each: {example}")
    for alias, layer in layers.items():
        if "BACKEND" not in layer:
            raise Wrong(f"CHANNEL_LAYERS[{alias!r}] has no BACKEND; write {example}")
        for key in layer:
            if key not in ("BACKEND", "CONFIG", "TEST_CONFIG"):
                raise Wrong(f"CHANNEL_LAYERS[{alias!r}][{key!r}] is ignored by Channels: options belong into CONFIG")
        if not isinstance(layer.get("CONFIG", {}), dict):
            raise Wrong(f"CHANNEL_LAYERS[{alias!r}]['CONFIG'] is a dict of options, not {layer['CONFIG']!r}")
    if "default" not in layers:
        print("note: no layer is called 'default': consumers and get_channel_layer() look for that one")


def _import(backend: str) -> Any:
    module, _, name = backend.rpartition(".")
    try:
        return getattr(__import__(module, fromlist=[name]), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Wrong(f"BACKEND {backend!r} cannot be imported: {error}; Fanfare's is {BACKEND!r}") from error


def _check(parsed: argparse.Namespace) -> int:
    layers = _configured(parsed)
    if not layers:
        print("neither --settings nor $DJANGO_SETTINGS_MODULE nor --url: looking at a layer without CONFIG")
        layers = {"default": {"BACKEND": BACKEND}}
    found = 0
    for alias, layer in layers.items():
        backend = _import(layer["BACKEND"])
        if not (isinstance(backend, type) and issubclass(backend, FanfareChannelLayer)):
            print(f"{alias}: {layer['BACKEND']} is no Fanfare layer; not looked at")
            continue
        found += 1
        print(f"{alias}:")
        check(backend, layer.get("CONFIG", {}), alias, lambda text: print(f"  {text}"))
    if not found:
        raise Wrong(f'no layer has the BACKEND "{BACKEND}"')
    print("all good")
    return 0


def _bench(parsed: argparse.Namespace) -> int:
    contestants = [
        bench.Contestant(alias, layer.get("BACKEND", ""), layer.get("CONFIG", {}))
        for alias, layer in _configured(parsed).items()
    ]
    for text in parsed.layer:
        name, _, rest = text.partition("=")
        backend, _, settings = rest.partition("=")
        try:
            contestants.append(bench.Contestant(name, backend, json.loads(settings) if settings else {}))
        except ValueError as error:
            raise Wrong(f"--layer {text}: the settings are no JSON: {error}") from error
    if not contestants:
        raise Wrong("nothing to measure: name a settings module, --url, or --layer")
    for contestant in contestants:
        _import(contestant.backend)
    found = bench.measure(
        contestants, parsed.rounds, parsed.scale, parsed.only, lambda text: print(text, file=sys.stderr)
    )
    print(bench.table(found, contestants[0].name))
    failures = [figures.failures for figures in found.values() if figures.failures]
    return EX_UNAVAILABLE if failures else 0


if __name__ == "__main__":
    sys.exit(main())
