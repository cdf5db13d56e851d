"""What the name of an image links to, as the target of a hyperlink."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath

_MOST_CHARACTERS = 2_079  # of a link in Excel
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_NOT_IN_PATHS = re.compile("[^!$&-;=@-Z_a-z~]")  # `pchar` and `/`, RFC 3986, 3.3
_NOT_IN_URLS = re.compile("[^!#-;=?-Z_a-z~\\[\\]]")


def link_to(name: str, folder: Path) -> str | None:
    """The target of a link from a workbook to an image.

    Args:
        name: a path, or a URL, which stays as it is.
        folder: where the workbook lies, as an absolute path. A file in or below it has a relative link,
            which holds when both are moved; others have a `file:` URI.

    Returns:
        a reference of ASCII and printable Unicode characters, the bytes of others as %NN (RFC 3987); None
        where there is no such file, or Excel takes no link of that length.
    """
    if _URL.match(name):
        target = _escaped(name, _NOT_IN_URLS)
    elif os.path.lexists(name):  # False for a name that no file can have
        target = _reference(Path(os.path.abspath(name)), folder)  # noqa: PTH100 (symbolic links stay)
    else:
        return None
    return target if len(target.encode("utf-16-le")) // 2 <= _MOST_CHARACTERS else None


def _reference(path: PurePath, folder: PurePath) -> str:
    if not path.is_relative_to(folder):
        absolute = _escaped(path.as_posix(), _NOT_IN_PATHS)
        return f"file:{absolute}" if absolute.startswith("//") else f"file:///{absolute.lstrip('/')}"
    relative = _escaped(path.relative_to(folder).as_posix(), _NOT_IN_PATHS)
    return f"./{relative}" if ":" in relative.partition("/")[0] else relative  # no scheme, RFC 3986, 4.2


def _escaped(text: str, characters: re.Pattern[str]) -> str:
    return characters.sub(lambda found: _percents(found[0]), text)


def _percents(character: str) -> str:
    if not character.isascii() and character.isprintable():
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
