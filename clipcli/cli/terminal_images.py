"""Small images beside the rows of a table, on terminals that can show them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

MOST = 20
"""Rows of a table that has images: each takes several lines."""

_SIDE = 120  # pixels
_LINES = 4
_COLUMNS = 9


def renderable() -> Any:
    """What draws an image for this terminal; None where it cannot show any, or the library is missing."""
    if not sys.stdout.isatty() or find_spec("textual_image") is None:
        return None
    from textual_image.renderable import Image, SixelImage, TGPImage  # asks the terminal what it can do

    return Image if Image in (SixelImage, TGPImage) else None


def print_with_images(
    draw: Any, columns: Sequence[str], rows: Sequence[Sequence[str]], images: Sequence[str]
) -> None:
    """A table on a terminal, each row beside its image; one that cannot be read leaves its place empty.

    Args:
        draw: from `renderable`.
        columns: the heads.
        rows: their cells.
        images: the name of the image of each row.
    """
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from clipcli.cli import console

    heads = [Column("", width=_COLUMNS), *(Column(Text(column), overflow="fold") for column in columns)]
    table = Table(*heads, box=None, pad_edge=False)
    for row, name in zip(rows, images, strict=True):
        table.add_row(_drawn(draw, name), *(Text(console.visible(cell)) for cell in row))
    Console(highlight=False).print(table)


def _drawn(draw: Any, name: str) -> Any:
    from clipcli.errors import ImageError
    from clipcli.images.thumbnails import small_copy
    from clipcli.inputs.opening import read_named

    try:
        return draw(small_copy(read_named(name), _SIDE), width="auto", height=_LINES)
    except ImageError:
        return ""
