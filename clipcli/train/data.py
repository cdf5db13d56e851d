"""Images to train on: which can be read, which are kept for validation, and random views of the others.

All that is random here follows from the seed, the epoch and the image's place alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from clipcli.errors import ImageError, UsageError
from clipcli.images.decode import decode, decode_whole
from clipcli.inputs.item import read_file
from clipcli.prefetch import prefetch_map
from clipcli.records import ImageFailure, Preprocess, Uint8Array
from clipcli.train.augment import Augmentation, augmented
from clipcli.train.pairs import Caption, Pair, Pairs

MAX_VALIDATION = 5000
"""Images; more would say little more, and compare each with every caption."""


class Data(NamedTuple):
    """What can be read, split by image; all of it in its order, with its SHA-256; and what cannot."""

    train: list[Pair]
    validation: list[Pair]
    pairs: list[Pair]
    digests: list[str]
    failures: list[ImageFailure]

    @property
    def identity(self) -> str:
        """Digest of all contents and captions in their order, 16 hexadecimal digits."""
        contents = [[digest, pair.captions] for digest, pair in zip(self.digests, self.pairs, strict=True)]
        return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]


class ReadReport(NamedTuple):
    """So many images were looked at, of `total`."""

    done: int
    total: int


class View(NamedTuple):
    """One image of a step (H, W, 3), its caption, and all captions that it has."""

    pixels: Uint8Array
    caption: Caption
    pair: Pair


Report: TypeAlias = Callable[[ReadReport | ImageFailure], None]


def prepare(
    pairs: Pairs,
    preprocess: Preprocess,
    val_fraction: float,
    workers: int,
    known: Collection[str] = (),
    report: Report = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Data | None:
    """Read every image, and decode it once: those that fail are told and left out.

    Args:
        pairs: from `clipcli.train.pairs.read_pairs`.
        preprocess: the model's recipe.
        val_fraction: part of the images that is kept for validation.
        workers: threads that read and decode.
        known: digests of contents that need not be decoded, because they could be before.
        report: is told of each image, and of those that cannot be read.
        stop: asked after each image.

    Returns:
        What can be read; None if `stop` ended it.

    Raises:
        UsageError: fewer than two images are left to train on.
    """
    for failure in pairs.failures:
        report(failure)
    readable = set(known)

    def check(pair: Pair) -> str | ImageFailure:
        return _checked(pair, preprocess, readable)

    good, digests, failures = [], [], list(pairs.failures)
    outcomes = prefetch_map(check, pairs.pairs, workers, 4 * workers)
    with closing(cast(Any, outcomes)):
        for done, (pair, outcome) in enumerate(zip(pairs.pairs, outcomes, strict=True), 1):
            if isinstance(outcome, ImageFailure):
                report(outcome)
                failures.append(outcome)
            else:
                good.append(pair)
                digests.append(outcome)
            report(ReadReport(done, len(pairs.pairs)))
            if stop():
                return None
    return _split(_with_captions_of_copies(good, digests), digests, failures, val_fraction)


def _with_captions_of_copies(pairs: Sequence[Pair], digests: Sequence[str]) -> list[Pair]:
    """Copies of one image each get the captions of all, so that none counts as wrong for another."""
    captions: dict[str, dict[Caption, None]] = {}
    for pair, digest in zip(pairs, digests, strict=True):
        captions.setdefault(digest, {}).update(dict.fromkeys(pair.captions))
    return [
        pair._replace(captions=tuple(captions[digest])) for pair, digest in zip(pairs, digests, strict=True)
    ]


def _checked(pair: Pair, preprocess: Preprocess, readable: set[str]) -> str | ImageFailure:
    """The SHA-256 of an image that can be read, which is added to those known."""
    try:
        content = read_file(pair.image)
        digest = hashlib.sha256(content).hexdigest()
        if digest not in readable:
            decode_whole(content, preprocess)
            readable.add(digest)
        return digest
    except ImageError as error:
        return ImageFailure(pair.image, error.message)


def _split(good: list[Pair], digests: list[str], failures: list[ImageFailure], val_fraction: float) -> Data:
    kept = split(digests, val_fraction)
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for pair, digest in zip(good, digests, strict=True):
        sides[digest in kept].append(pair)
    if len(sides[0]) < 2:
        raise UsageError(
            f"{len(good)} of {len(good) + len(failures)} images can be read,"
            f" which leaves {len(sides[0])} to train on",
            "Training compares images with each other: it wants at least 2.",
        )
    return Data(*sides, good, digests, failures)


def split(digests: Sequence[str], fraction: float) -> set[str]:
    """The digests of contents that are kept for validation: by rank of a hash, whatever order or seed.

    Copies of one image have one digest, and so are never on both sides.
    """
    distinct = sorted(set(digests), key=lambda digest: hashlib.sha256(digest.encode()).digest())
    return set(distinct[: min(round(fraction * len(distinct)), MAX_VALIDATION)])


def sizes(count: int, largest: int) -> list[int]:
    """Cut so many images into as few parts as hold at most `largest` each, as equal as can be.

    An image is never left by itself, where nothing would be compared and batch norm has no statistics:
    parts of 2 may so become 3.
    """
    parts = max(1, min(-(-count // largest), count // 2))
    least, longer = divmod(count, parts)
    return [least + (part < longer) for part in range(parts)]


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch shows its images."""
    return [int(index) for index in np.random.default_rng((seed, epoch)).permutation(count)]


def view_of(
    pair: Pair, preprocess: Preprocess, augmentation: Augmentation, entropy: tuple[int, int, int]
) -> View:
    """A random caption and a random view of an image.

    Args:
        pair: the image.
        preprocess: the model's recipe.
        augmentation: how views differ.
        entropy: seed, epoch and place of the image; equal means an equal view.

    Raises:
        ImageError: it is gone.
    """
    seed, epoch, index = entropy
    generator = np.random.default_rng((seed, epoch, index + 1))  # with 0 it were that of `shuffled`
    caption = pair.captions[int(generator.integers(len(pair.captions)))]
    try:
        image = decode_whole(read_file(pair.image), preprocess)
    except ImageError as error:
        raise _gone(pair.image, error) from None
    return View(augmented(image, preprocess, augmentation, generator), caption, pair)


def pixels_of(pair: Pair, preprocess: Preprocess) -> Uint8Array:
    """An image as `classify` sees it (H, W, 3).

    Raises:
        ImageError: it is gone.
    """
    try:
        return decode(read_file(pair.image), preprocess)
    except ImageError as error:
        raise _gone(pair.image, error) from None


def _gone(image: str, error: ImageError) -> ImageError:
    return ImageError(
        f"{image}: {error.message}; it could be read when the run began",
        "Put it back and run the same command again to go on.",
    )
