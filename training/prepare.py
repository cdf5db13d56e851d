"""From masters to what the image tower is trained on: which images, with which captions, how often."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from clipcli.train.run_folder import save_state
from training.captions import FASHION, captions, dominant_colour
from training.catalogue import EmojiNames, SourceImage
from training.examples import Examples, sampling_weights
from training.image_start import class_directions, reference_features
from training.render import Masters, load
from training.sources import BY_NAME
from training.splits import HELD_OUT, may_train, mentions
from training.words import WordNet

MASTER = 90  # pixels; views are 80, so most are scaled down a little
_ONE_SIDED = re.compile(
    r"left|right|letter|number|keycap|button|flag|north|south|east|west|clockwise|arrow|\b[a-z]\b"
)  # what a mirror changes
# How often an image is drawn, by its group in CLDR: things are what the model is for; people, symbols and
# flags are thousands of images that differ in a detail.
_BY_GROUP = {3: 1.6, 4: 1.6, 5: 1.6, 6: 1.6, 7: 1.6, 1: 0.25, 8: 0.25, 9: 0.25}
_BY_SOURCE = {"openclipart": 0.6, "icon-park": 0.4}
_MONO = 0.2


def training_rows(images: Sequence[SourceImage]) -> list[int]:
    """The images that may be trained on."""
    held_out = mentions(HELD_OUT)
    return [row for row, image in enumerate(images) if may_train(image, held_out)]


def factor(image: SourceImage, groups: Mapping[str, int]) -> float:
    """How often an image is drawn beside others of as common a concept."""
    group = 9 if image.names[0].startswith("flag of") else groups.get(image.names[0], -1)
    by_style = _MONO if is_mono(image) else _BY_SOURCE.get(image.source, 1.0)
    return by_style * _BY_GROUP.get(group, 1.0)


def is_mono(image: SourceImage) -> bool:
    """Whether an image has no colour of its own."""
    return BY_NAME[image.source].style == "mono" if image.source in BY_NAME else False


def shrunk(masters: Masters, rows: Sequence[int], size: int = MASTER) -> torch.Tensor:
    """The masters of these rows at training size -> (N, 4, size, size) uint8."""
    out = torch.zeros(len(rows), 4, size, size, dtype=torch.uint8)
    for start in range(0, len(rows), 512):
        part = torch.from_numpy(masters[rows[start : start + 512]]).permute(0, 3, 1, 2).float()
        smaller = F.interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)
        out[start : start + 512] = smaller.round().clamp(0, 255).to(torch.uint8)
    return out


def fashion(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Fashion-MNIST's `train` or `t10k` split -> (N, 28, 28) uint8, (N,) class numbers."""
    (images,) = folder.rglob(f"{split}-images-idx3-ubyte.gz")
    (labels,) = folder.rglob(f"{split}-labels-idx1-ubyte.gz")
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16)
    return pixels.reshape(-1, 28, 28), np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8)


def fashion_photos(folder: Path, size: int = MASTER) -> tuple[torch.Tensor, list[dict[str, float]]]:
    """The training split as opaque images -> (P, 4, size, size) and targets; one in four is inverted.

    To keep the memory small, every second photograph is taken.
    """
    pixels, labels = fashion(folder, "train")
    pixels, labels = pixels[::2], labels[::2]
    images = torch.full((len(pixels), 4, size, size), 255, dtype=torch.uint8)
    for start in range(0, len(pixels), 2048):
        part = torch.from_numpy(pixels[start : start + 2048].copy())[:, None].float()
        grey = F.interpolate(part, (size, size), mode="bicubic", align_corners=False).round().clamp(0, 255)
        grey[::4] = 255 - grey[::4]
        images[start : start + 2048, :3] = grey.to(torch.uint8)
    shares = [
        {name: (0.7 if i == 0 else 0.3 / (len(names) - 1)) for i, name in enumerate(names)}
        for names in FASHION
    ]
    shares = [{name: share / sum(kinds.values()) for name, share in kinds.items()} for kinds in shares]
    return images, [shares[label] for label in labels]


@dataclass(frozen=True)
class Material:
    """What the packages gave, once their images are drawn."""

    masters: Masters
    images: list[SourceImage]
    emoji: EmojiNames
    wordnet: WordNet


def material(work: Path) -> Material:
    """Read it from the work folder."""
    masters, images = load(work / "masters")
    emoji = EmojiNames(work / "unpacked" / "emojibase" / "package" / "en" / "data.json")
    return Material(masters, images, emoji, WordNet(work / "unpacked" / "wordnet" / "package" / "dict"))


def examples(found: Material, work: Path) -> Examples:
    """All that is trained on, and what the image tower's start makes of the images that have colours."""
    masters, wordnet = found.masters, found.wordnet
    rows = training_rows(found.images)
    chosen = [found.images[row] for row in rows]
    photos, photo_targets = fashion_photos(work / "unpacked" / "fashion-mnist")
    mono = torch.tensor([is_mono(p) for p in chosen])
    start = work / "unpacked" / "lite0"
    directions, direction_names = class_directions(start)
    reference = torch.zeros(len(rows), directions.shape[1])
    coloured = [row for row, p in zip(rows, chosen, strict=True) if not is_mono(p)]
    reference[~mono] = _kept(work / "reference.pt", lambda: reference_features(masters, coloured, start))
    return Examples(
        masters=shrunk(masters, rows),
        targets=list(_targets(masters, rows, chosen, wordnet)),
        weights=sampling_weights(
            [p.names[0] for p in chosen],
            [p.source for p in chosen],
            [factor(p, found.emoji.groups) for p in chosen],
        ),
        mono=mono,
        flip=torch.tensor([not _ONE_SIDED.search(" ".join(p.names)) for p in chosen]),
        photos=photos,
        photo_targets=photo_targets,
        reference=reference,
        directions=directions,
        direction_names=direction_names,
    )


def _kept(path: Path, make: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The tensor in the file, which is computed and written first if it is not there."""
    if not path.exists():
        save_state(path, make())
    kept: torch.Tensor = torch.load(path, weights_only=True)
    return kept


def _targets(
    masters: Masters, rows: Sequence[int], images: Sequence[SourceImage], wordnet: WordNet
) -> Iterator[dict[str, float]]:
    for row, image in zip(rows, images, strict=True):
        colour = None if is_mono(image) else dominant_colour(masters[row])
        yield captions(image, wordnet, colour)
