"""One linear scan over MessagePack bytes before anything is allocated for what they declare."""

from __future__ import annotations

from typing import List, Union

NESTING = 16
"""Containers inside containers."""
ELEMENTS = 1_048_576
"""Scalars, containers and keys in one value."""
SCAN_FROM_BYTES = 4_096
"""Shorter input can declare little, and is judged after it was decoded."""

Bytes = Union[bytes, memoryview]

# By first byte: bytes after it for values of fixed size; bytes of the length for texts and bytes of variable size.
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED.update({0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8})
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
# Containers: bytes of the count, values for each of it.
_COUNTED = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def scan(data: Bytes) -> None:
    """Raises `ValueError` unless `data` is exactly one MessagePack value within the limits, without extensions."""
    position, end, elements = 0, len(data), 0
    open_counts: List[int] = [1]
    while open_counts:
        if open_counts[-1] == 0:
            open_counts.pop()
            continue
        open_counts[-1] -= 1
        elements += 1
        if position >= end:
            raise ValueError("the value ends early")
        if elements > ELEMENTS:
            raise ValueError(f"more than {ELEMENTS} elements")
        first = data[position]
        position += 1
        children = -1
        if first <= 0x7F or first >= 0xE0:
            continue
        if first <= 0x8F:
            children = (first & 0x0F) * 2
        elif first <= 0x9F:
            children = first & 0x0F
        elif first <= 0xBF:
            position += first & 0x1F
        elif first in _FIXED:
            position += _FIXED[first]
        elif first in _SIZED:
            width = _SIZED[first]
            position += width + int.from_bytes(data[position : position + width], "big")
        elif first in _COUNTED:
            width, each = _COUNTED[first]
            children = int.from_bytes(data[position : position + width], "big") * each
            position += width
        else:
            raise ValueError(f"the byte {first:#04x} begins no value that is allowed here")
        if position > end:
            raise ValueError("the value ends early")
        if children >= 0:
            if children > end - position:
                raise ValueError("more elements are declared than there are bytes")
            if len(open_counts) > NESTING:
                raise ValueError(f"more than {NESTING} containers inside each other")
            open_counts.append(children)
    if position != end:
        raise ValueError(f"{end - position} bytes after the value")
