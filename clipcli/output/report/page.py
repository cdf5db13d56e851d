"""The page of a report: its data as JSON, put into the template with style, script and a security policy."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clipcli.inputs.formats import holder_of
from clipcli.inputs.predictions import PredictedImage
from clipcli.output.cells import as_text, readable
from clipcli.output.metrics_file import as_dict
from clipcli.output.report.about import About
from clipcli.output.report.records import MOST_RANKED, ReportImage
from clipcli.output.report.thumbnails import Store
from clipcli.output.rows import rounded
from clipcli.records import Value
from clipcli.remote.addresses import WEB, address_of, is_remote, scheme_of
from clipcli.version import __version__

SCRIPTS = ("data", "corrections", "selection", "grid", "large", "picker", "overview", "main")
"""The files of the script, which the page has as one."""

_BLOCK = 100  # thumbnails that the page unpacks together, when one of them is to be seen
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_STATUSES = ("ok", "unknown", "error")
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")  # in a script, and what UTF-8 cannot hold


def render(images: Sequence[ReportImage], about: About, page: Path, store: Store) -> Iterator[bytes]:
    """The page in parts, UTF-8; equal arguments give equal bytes.

    Args:
        images: in the order of the input.
        about: the run as a whole.
        page: the file that it will be, from which the addresses of the images start.
        store: has their thumbnails.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    style, script = Markup(_file("report.css")), Markup("\n".join(_file(f"{name}.js") for name in SCRIPTS))
    values = {
        "title": readable(about.title),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "data": Markup(as_script(content(images, about, page, store))),
        "blocks": () if store.folder else map(Markup, _blocks(store.references)),
    }
    for part in environment.from_string(_file("template.html")).generate(values):
        yield part.encode("utf-8", "backslashreplace")


def _file(name: str) -> str:
    return (resources.files(__package__) / "page" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """What the page may do: run this script with this style, show images; no network, frame or form."""
    return (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)};"
        " img-src 'self' data: file:; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def as_script(value: Any) -> str:
    """JSON that can stand in a `<script>`: nothing in it ends the element, and any text is UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda one: f"\\u{ord(one[0]):04x}", text)


def _blocks(references: Sequence[str | None]) -> Iterator[str]:
    """The thumbnails in the page, some at a time."""
    for start in range(0, len(references), _BLOCK):
        yield as_script(references[start : start + _BLOCK])


# --- The data ------------------------------------------------------------------------------------


def content(images: Sequence[ReportImage], about: About, page: Path, store: Store) -> dict[str, Any]:
    """What the script reads: of the images a list for each property, with labels as numbers.

    `digest` depends on images, labels and scores only: what a user corrects is kept under it.
    """
    predicted = [one.predicted for one in images]
    labels = _labels(images, about)
    number = {label: index for index, label in enumerate(labels)}
    columns = list(dict.fromkeys(name for one in predicted for name in one.columns))
    found = {
        "labels": labels,
        "names": [one.image for one in predicted],
        "ranked": [_ranked(one, number) for one in predicted],
        "statuses": [_STATUSES.index(one.status) for one in predicted],
        "margins": [_short(one.margin) for one in predicted],
        "errors": {index: one.error for index, one in enumerate(predicted) if one.error},
        "gallery": about.is_gallery,
        "truths": [[number[label] for label in one.truth] for one in images] if about.evaluation else None,
        "columns": columns,
        "cells": [[_cell(one.columns.get(name)) for name in columns] for one in predicted],
    }
    return found | {
        "digest": hashlib.sha256(as_script(found).encode()).hexdigest()[:32],
        "title": readable(about.title),
        "model": about.model,
        "version": __version__,
        "figures": as_dict(about.evaluation) if about.evaluation else None,
        "addresses": [_link(one.path or one.predicted.image, page) for one in images],
        "block": _BLOCK,
        "folder": quote(os.fsencode(store.folder)),
        "thumbnails": store.references if store.folder else None,
    }


def _ranked(image: PredictedImage, number: Mapping[str, int]) -> list[list[float | None]]:
    """The best labels of an image, each as its number and its score."""
    return [[number[one.label], _short(one.score)] for one in image.labels[:MOST_RANKED]]


def _labels(images: Iterable[ReportImage], about: About) -> list[str]:
    """Those to choose from, and those that images have besides."""
    found = dict.fromkeys(about.labels)
    for one in images:
        found.update(dict.fromkeys(ranked.label for ranked in one.predicted.labels))
        found.update(dict.fromkeys(one.truth))
    return list(found)


def _short(value: float | None) -> float | None:
    return None if value is None or value != value else rounded(value)  # noqa: PLR0124 (NaN)


def _cell(value: Value) -> str:
    return "" if value is None else str(as_text(value))


def _link(image: str, page: Path) -> str:
    """The address of an image; nothing for one that is no file of its own, or lies where no browser goes."""
    if scheme_of(image) in WEB:
        return address(image, page)
    is_elsewhere = holder_of(image) or _URL.match(image)
    return "" if is_elsewhere and not os.path.lexists(image) else address(image, page)


def address(image: str, page: Path) -> str:
    """Where a page finds an image: its address if it has one, else a path relative to the page, or from the
    root where they share no drive, or where the page will lie in a bucket.

    Bytes that mean something in an address, or that are no text, are percent-encoded.
    """
    if is_remote(image):
        return quote(image.encode("utf-8", "surrogateescape"), safe=":/?#[]@!$&'()*+,;=%")
    if address_of(page) is not None:
        return Path(image).absolute().as_uri()
    try:
        relative = os.path.relpath(image, page.parent)
    except ValueError:  # another drive, on Windows
        return Path(image).absolute().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))
