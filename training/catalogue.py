"""Which images the packages hold, and what each is called, before any is drawn."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from training.sources import BY_NAME, Source
from training.words import CONCRETE, WordNet

SKIN_TONE = re.compile(r"skin-tone|1f3f[b-f]|-(light|medium|dark|medium-light|medium-dark)$")
# Parts of icon names that say how it is drawn, or that make the thing hard to see.
VARIANTS = ("outline", "filled", "fill", "duotone", "variant", "line", "solid", "bold", "24px", "alt")
UNCLEAR = re.compile(
    r"-(off|plus|minus|x|check|cog|up|down|left|right|box|circle|slash|edit|lock|alert|search|add|remove|share"
    r"|question|heart|star|bolt|pause|code|dollar|pin|cancel|minimalistic|negative)(-|$)|^(brand|account|alpha|letter"
    r"|file|folder|letter|number|text|sign|arrow|format|align|border|square|circle|device|user)-"
)
OPENCLIPART_NOISE = {
    "unsorted", "clipart", "clip art", "svg", "png", "externalsource", "recreation", "containers", "special",
    "colour", "color", "contour", "outline", "geometric",
}  # fmt: skip


@dataclass(frozen=True)
class SourceImage:
    """An image in a package.

    Args:
        source: the name of the `Source`.
        key: the image's name there.
        names: what it shows, best name first.
        tags: keywords.
        emoji: whether the names are Unicode CLDR's.
        svg: the drawing, or
        file: the file that holds it.
    """

    source: str
    key: str
    names: tuple[str, ...]
    tags: tuple[str, ...] = ()
    emoji: bool = False
    svg: str = field(default="", repr=False)
    file: str = ""


class EmojiNames:
    """Unicode CLDR names and keywords, by name and by code point."""

    def __init__(self, path: Path) -> None:
        entries = [entry for entry in json.loads(path.read_text()) if entry.get("group", 2) != 2]
        self.by_name = {squashed(entry["label"]): entry for entry in entries}
        self.by_code = {bare_code(entry["hexcode"]): entry for entry in entries}
        self.groups = {entry["label"].lower(): entry["group"] for entry in entries}
        self.by_short_name = dict(self.by_name)
        for entry in list(self.by_name.values()):
            for ending in ("face", "button", "symbol", "sign"):
                self.by_short_name.setdefault(squashed(entry["label"].replace(ending, "")), entry)

    def find(self, key: str) -> dict[str, Any] | None:
        """The entry of an icon's name."""
        flag = squashed("flag" + key.replace("flag-for-", "")) if key.startswith("flag") else ""
        return (
            self.by_name.get(squashed(key))
            or self.by_name.get(flag)
            or self.by_name.get(squashed(key + " face"))
        )


def squashed(name: str) -> str:
    """A name without anything but letters and digits, for comparing."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("&", "and"))


def bare_code(code: str) -> str:
    """A code point sequence in lower case, without the variation selector."""
    return code.lower().replace("-fe0f", "")


def emoji_words(entry: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, tags) of a CLDR entry."""
    label = entry["label"].lower()
    names = [label]
    if entry["group"] == 9 or label.startswith("flag: "):
        country = label.replace("flag: ", "")
        names = [f"flag of {country}", f"{country} flag"]
    elif label.endswith(" face") and entry["group"] == 3:
        names.append(label.removesuffix(" face"))
    return tuple(names), tuple(tag.lower() for tag in entry.get("tags", []))


def images_of(source: Source, unpacked: Path, emoji: EmojiNames, wordnet: WordNet) -> Iterator[SourceImage]:
    """All images of a source whose names say what they show."""
    folder = unpacked / source.name
    if source.package.startswith("@iconify-json/"):
        yield from icons(source, folder / "package", emoji, wordnet)
    elif source.name == "fluent-3d":
        yield from emoji_files(source, folder / "package" / "assets", emoji)
    elif source.name == "openclipart":
        yield from openclipart(folder, unpacked / "openclipart-svg", wordnet)
    elif source.name == "tuxpaint":
        yield from stamps(folder)


def icons(source: Source, folder: Path, emoji: EmojiNames, wordnet: WordNet) -> Iterator[SourceImage]:
    """The images of an icon set in Iconify's format."""
    icon_set = json.loads((folder / "icons.json").read_text())
    by_cldr = source.style == "emoji" or source.name == "fluent-emoji-high-contrast"
    for key, icon in icon_set["icons"].items():
        if icon.get("hidden") or (source.keep and not key.endswith(tuple(f"-{end}" for end in source.keep))):
            continue
        named = cldr_name(source, key, emoji) if by_cldr else icon_name(source, key, wordnet)
        if named:
            yield replace(named, svg=svg_of(icon, icon_set))


def cldr_name(source: Source, key: str, emoji: EmojiNames) -> SourceImage | None:
    """An emoji, named by CLDR where its own name is found there."""
    if SKIN_TONE.search(key):
        return None
    entry = emoji.find(key)
    if source.name == "fxemoji":
        code = re.match(r"u([0-9A-Fa-f]{4,5})-", key)
        entry = emoji.by_short_name.get(squashed(key)) or (
            emoji.by_code.get(code[1].lower()) if code else None
        )
        if entry is None:
            return None
    if entry is None:
        return SourceImage(source.name, key, (re.sub(r"-\d+$", "", key).replace("-", " "),))
    names, tags = emoji_words(entry)
    return SourceImage(source.name, key, names, tags, emoji=True)


def icon_name(source: Source, key: str, wordnet: WordNet) -> SourceImage | None:
    """An icon, if its name is a thing that can be drawn."""
    if UNCLEAR.search(key) and source.name not in {
        "game-icons",
        "flat-color-icons",
        "temaki",
        "maki",
        "meteocons",
    }:
        return None
    name = re.sub(r"^animal-", "", key)
    for _ in range(2):
        for variant in VARIANTS:
            name = name.removesuffix(f"-{variant}")
    name = re.sub(r"-\d+(px)?$|-(one|two|three|four|five)$", "", name).replace("-", " ").replace("_", " ")
    return SourceImage(source.name, key, (name,)) if wordnet.concrete(name) else None


def svg_of(icon: dict[str, Any], icon_set: dict[str, Any]) -> str:
    """The drawing of an icon as a whole SVG document."""
    width = icon.get("width", icon_set.get("width", 16))
    height = icon.get("height", icon_set.get("height", width))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" '
        f'width="{width}" height="{height}">'
        f"{icon['body']}</svg>"
    )


def emoji_files(source: Source, folder: Path, emoji: EmojiNames) -> Iterator[SourceImage]:
    """Emoji in files named by their code points."""
    for path in sorted(folder.glob("*.webp")):
        entry = emoji.by_code.get(bare_code(path.stem))
        if entry and not SKIN_TONE.search(path.stem):
            names, tags = emoji_words(entry)
            yield SourceImage(source.name, path.stem, names, tags, emoji=True, file=str(path))


def openclipart(folder: Path, svg_folder: Path, wordnet: WordNet) -> Iterator[SourceImage]:
    """Open Clip Art's drawings that state that they are in the public domain."""
    found = [
        item for path in sorted(folder.rglob("*.png")) if (item := clip(path, folder, svg_folder, wordnet))
    ]
    series = Counter(image.names[0] for image in found)
    for image in found:
        if series[image.names[0]] > 5:  # the title of a series says little: take the nouns of the file's name
            words = [
                wordnet.singular(word) for word in re.split(r"[^a-z]+", image.key.lower()) if len(word) > 2
            ]
            nouns = tuple(dict.fromkeys(word for word in words if is_thing(word, wordnet)))[:2]
            if nouns:
                yield replace(image, names=nouns)
        else:
            yield image


def clip(path: Path, folder: Path, svg_folder: Path, wordnet: WordNet) -> SourceImage | None:
    """One drawing with its title, the nouns in it and its keywords; None if its licence is not stated."""
    below = path.relative_to(folder)
    parts = below.parts[below.parts.index("png") + 1 :] if "png" in below.parts else below.parts
    if path.is_symlink() or parts[0] == "special" or "duplicates" in parts:
        return None
    drawing = next(
        iter(svg_folder.glob("usr/share/openclipart/svg/" + glob_safe("/".join(parts))[:-4] + ".svg")), None
    )
    if drawing is None:
        return None
    metadata = re.search(r"<metadata.*?</metadata>", drawing.read_text(errors="replace"), re.S)
    stated = re.search(r'license rdf:resource="([^"]+)"', metadata[0]) if metadata else None
    if metadata is None or stated is None or not re.search(r"(?i)publicdomain", stated[1]):
        return None
    title = re.search(r"<dc:title>(.*?)</dc:title>", metadata[0], re.S)
    keywords = [cleaned(word) for word in re.findall(r"<rdf:li>(.*?)</rdf:li>", metadata[0], re.S)]
    tags = [
        tag for tag in (*keywords, *map(cleaned, parts[:-1])) if len(tag) > 2 and tag not in OPENCLIPART_NOISE
    ]
    name = cleaned(title[1]) if title else ""
    if not name or len(name.split()) > 6:
        name = cleaned(re.sub(r"[_\-]+", " ", re.sub(r"_\d+$", "", path.stem)))
    nouns = [noun for noun in map(wordnet.singular, name.split()) if is_thing(noun, wordnet)]
    names = tuple(dict.fromkeys([name, *nouns]))
    if not nouns and not any(is_thing(wordnet.singular(tag), wordnet) for tag in tags):
        return None
    return SourceImage("openclipart", path.stem, names, tuple(dict.fromkeys(tags)), file=str(path))


def is_thing(word: str, wordnet: WordNet) -> bool:
    """Whether a single word is a concrete noun of three letters or more."""
    sense = wordnet.sense(word)
    return len(word) > 2 and sense is not None and sense.lexfile in CONCRETE


def glob_safe(text: str) -> str:
    """A path in which no character stands for others."""
    return re.sub(r"([*?\[])", r"[\1]", text)


def cleaned(text: str) -> str:
    """Lower-case letters and apostrophes only."""
    return re.sub(r"\s+", " ", re.sub(r"[^a-z' ]", " ", html.unescape(text).lower())).strip()


def stamps(folder: Path) -> Iterator[SourceImage]:
    """Tux Paint's stamps: the first line of the text beside each is its caption."""
    root = next(folder.rglob("stamps"))
    for path in sorted(root.rglob("*.txt")):
        drawn = next(
            (path.with_suffix(end) for end in (".png", ".svg") if path.with_suffix(end).exists()), None
        )
        if drawn is None or {"alphabets", "money"} & set(path.parts):
            continue
        caption = path.read_text(errors="replace").split("\n")[0].strip().lower().rstrip(".!")
        name = re.sub(r"\s*\(.*\)", "", re.sub(r"^(a|an|the|some) ", "", caption))
        if name:
            yield SourceImage(
                "tuxpaint", str(path.relative_to(root).with_suffix("")), (name,), file=str(drawn)
            )


def whole_catalogue(unpacked: Path) -> tuple[list[SourceImage], EmojiNames, WordNet]:
    """Every image of every source but Fashion-MNIST, and the words that name them."""
    emoji = EmojiNames(unpacked / "emojibase" / "package" / "en" / "data.json")
    wordnet = WordNet(unpacked / "wordnet" / "package" / "dict")
    drawn = [source for source in BY_NAME.values() if source.role != "words" and source.style != "photo"]
    return (
        [image for source in drawn for image in images_of(source, unpacked, emoji, wordnet)],
        emoji,
        wordnet,
    )
