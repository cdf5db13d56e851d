"""What an Excel cell can hold stays typed; what it cannot is text."""

from __future__ import annotations

from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from clipcli.output.sinks import open_sink

UTC = timezone.utc


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        (12, int, 12),
        (999_999_999_999_999, int, 999_999_999_999_999),
        (1_000_000_000_000_000, int, "1000000000000000"),
        (-(2**62), int, str(-(2**62))),
        (0.1, float, 0.1),
        (0.1 + 0.2, float, 0.30000000000000004),
        (5e-324, float, 5e-324),
        (-1.7976931348623157e308, float, -1.7976931348623157e308),
        (float("nan"), float, None),
        (True, bool, True),
        (datetime(2024, 5, 1, 12, 30, 15), datetime, datetime(2024, 5, 1, 12, 30, 15)),
        (datetime(2024, 5, 1, 12, 30, tzinfo=UTC), datetime, "2024-05-01T12:30:00+00:00"),
        (datetime(1812, 2, 7), datetime, "1812-02-07T00:00:00"),
        (date(2024, 5, 1), date, datetime(2024, 5, 1)),
        (date(1812, 2, 7), date, "1812-02-07"),
        (None, date, None),
        ("=1+1", str, "=1+1"),
        ("007", str, "007"),
    ],
)
def test_cells(value: Any, kind: type, found: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with open_sink({"image": str, "value": kind}, path) as sink:
        sink.write(["a.jpg", value])
    cell = openpyxl.load_workbook(path).worksheets[0]["B2"]
    assert cell.value == found
    assert type(cell.value) is type(found)
    assert cell.data_type != "f"
