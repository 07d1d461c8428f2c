"""Reads `proto/vectors`; the format is in its README.md."""

from __future__ import annotations

import json
import pathlib
from typing import Any, Callable, Dict, Iterator, List

import pytest

from fanfare_channels import protocol as p

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "proto" / "vectors"
OPERATIONS = {
    name: getattr(p, name)
    for name in (
        "HELLO PING PONG GOODBYE CLOCK SEND RECEIVE CANCEL GIVE_BACK REPORT OPEN_CHANNELS CLOSE_CHANNELS GROUP_ADD "
        "GROUP_DISCARD GROUP_SEND OUTCOME FLUSH INSPECT TAIL ADMIN WELCOME ACK ERROR RESULT DELIVER HAND_OUT GAP "
        "GROUP_DELIVER MEMBERS FLUSHED TAILED GOAWAY"
    ).split()
}
CODES = {
    "frame_too_large": 1,
    "malformed_frame": 2,
    "unknown_operation": 10,
    "bad_request": 11,
}


def read(file: str) -> Iterator[Dict[str, Any]]:
    vector: Dict[str, Any] = {}
    for line in [*(FOLDER / file).read_text().splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line:
            if vector:
                yield vector
            vector = {}
            continue
        key, _, value = line.partition(": ")
        vector[key] = bytes.fromhex(value) if key == "hex" else meaning(value) if key == "json" else value


def meaning(text: str) -> Any:
    def special(value: Dict[str, Any]) -> Any:
        if set(value) == {"$bytes"}:
            return bytes.fromhex(value["$bytes"])
        if set(value) == {"$double"}:
            return float(value["$double"])
        return value

    return json.loads(text, object_hook=special)


def of_kind(kind: str, *files: str, where: Callable[[Dict[str, Any]], bool] = lambda _: True) -> List[Any]:
    """The vectors of a kind, as pytest's parameters."""
    found = [(file, vector) for file in files for vector in read(file) if vector["kind"] == kind and where(vector)]
    return [pytest.param(vector, id=f"{file}: {vector['name']}") for file, vector in found]
