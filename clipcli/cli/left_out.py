"""What a run says of files in folders that it did not take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipcli.inputs.formats import FileKind
    from clipcli.inputs.left_out import LeftOut, Reason

_SHOWN_SUFFIXES = 3
_KINDS: dict[FileKind, tuple[str, str]] = {
    "raw": ("RAW file", ""),
    "video": ("video", "use --frames or --every"),
    "document": ("document", "use --pages"),
    "archive": ("archive", "use --archives"),
}


def told(left_out: LeftOut) -> str:
    """What was left out though nobody asked for it, and how to have it taken; nothing if that is nothing."""
    parts = [
        f"{_count(left_out.kinds[kind], name)} ({_remedy(kind, remedy)})"
        for kind, (name, remedy) in _KINDS.items()
        if left_out.kinds[kind]
    ]
    parts += _of_reason(left_out, "hidden", "hidden {}")
    if nested := left_out.reasons["nested"]:
        parts.append(f"{_count(nested, 'archive')} in other archives (unpack those first)")
    if left_out.kinds["other"]:
        parts.append(_others(left_out))
    return f"not taken from folders: {', '.join(parts)}" if parts else ""


def first_pages(left_out: LeftOut) -> str:
    """That TIFF files have pages that were not read; nothing if none has."""
    count = left_out.first_pages.count
    if not count:
        return ""
    return f"{_count(count, 'TIFF file')} {'has' if count == 1 else 'have'} more pages: use --all-frames"


def _remedy(kind: FileKind, remedy: str) -> str:
    """How to have files of a kind taken; first of all, what must be installed."""
    from clipcli.inputs.extras import can_read, install

    return remedy if can_read(kind) else install(kind)


def by_request(left_out: LeftOut) -> str:
    """What patterns left out, for a run that found nothing else; nothing if that is nothing."""
    options: dict[Reason, str] = {"not included": "--include", "excluded": "--exclude"}
    found = {option: _of_reason(left_out, reason, "{}") for reason, option in options.items()}
    return ". ".join(f"{option} leaves out {' and '.join(parts)}" for option, parts in found.items() if parts)


def _of_reason(left_out: LeftOut, reason: Reason, name: str) -> list[str]:
    """Images, then folders, that were left out for one reason."""
    counts = {"image": left_out.reasons[reason], "folder": left_out.folders[reason]}
    return [_count(count, name.format(kind)) for kind, count in counts.items() if count]


def _others(left_out: LeftOut) -> str:
    """Files without the suffix of an image, by their most frequent suffixes."""
    frequent = left_out.suffixes.most_common(_SHOWN_SUFFIXES)
    names = ", ".join(suffix or "without a suffix" for suffix, _ in frequent)
    more = ", …" if len(left_out.suffixes) > len(frequent) else ""
    return f"{_count(left_out.kinds['other'], 'other file')} ({names}{more})"


def _count(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"
