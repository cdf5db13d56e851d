"""ICC profiles that tests put into pictures."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
P3_TO_D50 = np.array(  # Display P3 adapted to D50 by Bradford
    [[0.5151187, 0.2919778, 0.1571035], [0.2411892, 0.6922441, 0.0665668], [-0.0010505, 0.0418791, 0.7840713]]
)


def icc_profile(space: bytes, tags: dict[bytes, bytes], description: bytes = b"for the tests") -> bytes:
    """An ICC 2 display or printer profile with these tags (ICC.1:2001-04, sections 6.1 and 6.2)."""
    text = b"desc" + bytes(4) + struct.pack(">I", len(description) + 1) + description + bytes(1 + 78)
    tags = {b"desc": text, b"wtpt": xyz(D50), **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    kind, connection = (b"prtr", b"Lab ") if space == b"CMYK" else (b"mntr", b"XYZ ")
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x02400000, kind, space, connection)
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *(round(v * 65536) for v in D50))
    return head.ljust(128, b"\0") + table + body


def xyz(values: Any) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def gamma_curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def rgb_profile(to_d50: np.ndarray, gamma: float, description: bytes = b"for the tests") -> bytes:
    columns = {name: xyz(to_d50[:, index]) for index, name in enumerate([b"rXYZ", b"gXYZ", b"bXYZ"])}
    curves = dict.fromkeys([b"rTRC", b"gTRC", b"bTRC"], gamma_curve(gamma))
    return icc_profile(b"RGB ", columns | curves, description)


PROFILE = rgb_profile(P3_TO_D50, 2.2)
