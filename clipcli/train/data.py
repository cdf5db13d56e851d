"""Images to train on: which can be read, which are kept for validation, and random views of the others.

Everything random here depends only on the seed, the epoch and the position of the image.
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
"""The most images that are kept for validation: every image is compared with every caption."""


class Data(NamedTuple):
    """Images and captions, once all images have been read.

    Args:
        train: those to train on.
        validation: those to measure with.
        pairs: both, in their order.
        digests: the SHA-256 of each image of `pairs`.
        failures: the images that cannot be read.
    """

    train: list[Pair]
    validation: list[Pair]
    pairs: list[Pair]
    digests: list[str]
    failures: list[ImageFailure]

    @property
    def identity(self) -> str:
        """A digest of all images and captions in their order, 16 hexadecimal digits."""
        contents = [[digest, pair.captions] for digest, pair in zip(self.digests, self.pairs, strict=True)]
        return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:16]


class ReadReport(NamedTuple):
    """Progress of reading the images."""

    done: int
    total: int


class View(NamedTuple):
    """One image of a step (H, W, 3), the caption to train it with, and all its captions."""

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
    """Read every image and decode it once; those that fail are reported and left out.

    Args:
        pairs: from `clipcli.train.pairs.read_pairs`.
        preprocess: how the model wants its images.
        val_fraction: the share of the images that is kept for validation.
        workers: threads that read and decode.
        known: digests of images that were decoded before and need not be decoded again.
        report: called for each image that was read and each that cannot be.
        stop: called after each image; True ends the reading.

    Returns:
        The images that can be read; None if `stop` ended the reading.

    Raises:
        UsageError: fewer than two images are left to train on.
    """
    for failure in pairs.failures:
        report(failure)
    outcomes = _read_all(pairs.pairs, preprocess, workers, known, report, stop)
    if outcomes is None:
        return None
    good, digests, failures = [], [], list(pairs.failures)
    for pair, outcome in zip(pairs.pairs, outcomes, strict=True):
        if isinstance(outcome, ImageFailure):
            failures.append(outcome)
        else:
            good.append(pair)
            digests.append(outcome)
    return _split_data(_with_captions_of_copies(good, digests), digests, failures, val_fraction)


def _read_all(
    pairs: Sequence[Pair],
    preprocess: Preprocess,
    workers: int,
    known: Collection[str],
    report: Report,
    stop: Callable[[], bool],
) -> list[str | ImageFailure] | None:
    """The digest of each image, or why it cannot be read; None if `stop` ended the reading."""
    readable = set(known)
    outcomes = []
    results = prefetch_map(lambda pair: _digest_of(pair, preprocess, readable), pairs, workers, 4 * workers)
    with closing(cast(Any, results)):
        for done, outcome in enumerate(results, 1):
            outcomes.append(outcome)
            if isinstance(outcome, ImageFailure):
                report(outcome)
            report(ReadReport(done, len(pairs)))
            if stop():
                return None
    return outcomes


def _with_captions_of_copies(pairs: Sequence[Pair], digests: Sequence[str]) -> list[Pair]:
    """Give all copies of an image the captions of each, so that none counts as wrong for another."""
    captions: dict[str, dict[Caption, None]] = {}
    for pair, digest in zip(pairs, digests, strict=True):
        captions.setdefault(digest, {}).update(dict.fromkeys(pair.captions))
    return [
        pair._replace(captions=tuple(captions[digest])) for pair, digest in zip(pairs, digests, strict=True)
    ]


def _digest_of(pair: Pair, preprocess: Preprocess, readable: set[str]) -> str | ImageFailure:
    """The SHA-256 of an image that can be decoded, which is added to `readable`."""
    try:
        content = read_file(pair.image)
        digest = hashlib.sha256(content).hexdigest()
        if digest not in readable:
            decode_whole(content, preprocess)
            readable.add(digest)
        return digest
    except ImageError as error:
        return ImageFailure(pair.image, error.message)


def _split_data(
    good: list[Pair], digests: list[str], failures: list[ImageFailure], val_fraction: float
) -> Data:
    kept = split(digests, val_fraction)
    sides: tuple[list[Pair], list[Pair]] = ([], [])
    for pair, digest in zip(good, digests, strict=True):
        sides[digest in kept].append(pair)
    if len(sides[0]) < 2:
        raise UsageError(
            f"{len(good)} of {len(good) + len(failures)} images can be read,"
            f" which leaves {len(sides[0])} to train on",
            "Training compares images with each other and needs at least 2.",
        )
    return Data(*sides, good, digests, failures)


def split(digests: Sequence[str], fraction: float) -> set[str]:
    """The digests of the images that are kept for validation.

    They are chosen by a hash of the digest, so that neither order nor seed matters. Copies of an image have
    the same digest and are therefore never on both sides.
    """
    distinct = sorted(set(digests), key=lambda digest: hashlib.sha256(digest.encode()).digest())
    return set(distinct[: min(round(fraction * len(distinct)), MAX_VALIDATION)])


def sizes(count: int, largest: int) -> list[int]:
    """Divide `count` images into as few parts of at most `largest` as possible, nearly equal in size.

    No part has a single image, which could be compared with nothing and has no statistics for batch norm;
    for that, a part may have 3 images where `largest` is 2.
    """
    parts = max(1, min(-(-count // largest), count // 2))
    smallest, larger_parts = divmod(count, parts)
    return [smallest + (part < larger_parts) for part in range(parts)]


def shuffled(count: int, seed: int, epoch: int) -> list[int]:
    """The order of the images in an epoch."""
    return [int(index) for index in np.random.default_rng((seed, epoch)).permutation(count)]


def view_of(
    pair: Pair, preprocess: Preprocess, augmentation: Augmentation, entropy: tuple[int, int, int]
) -> View:
    """A random caption and a random view of an image.

    Args:
        pair: the image.
        preprocess: how the model wants its images.
        augmentation: how views differ from the image.
        entropy: seed, epoch and position of the image; the same numbers give the same view.

    Raises:
        ImageError: the image can no longer be read.
    """
    seed, epoch, index = entropy
    generator = np.random.default_rng(
        (seed, epoch, index + 1)
    )  # plus 1, because `shuffled` uses (seed, epoch)
    caption = pair.captions[int(generator.integers(len(pair.captions)))]
    try:
        image = decode_whole(read_file(pair.image), preprocess)
    except ImageError as error:
        raise _no_longer_readable(pair.image, error) from None
    return View(augmented(image, preprocess, augmentation, generator), caption, pair)


def pixels_of(pair: Pair, preprocess: Preprocess) -> Uint8Array:
    """An image as `classify` sees it (H, W, 3).

    Raises:
        ImageError: it can no longer be read.
    """
    try:
        return decode(read_file(pair.image), preprocess)
    except ImageError as error:
        raise _no_longer_readable(pair.image, error) from None


def _no_longer_readable(image: str, error: ImageError) -> ImageError:
    return ImageError(
        f"{image}: {error.message}; it could be read when the run began",
        "Put it back and run the same command again to continue.",
    )
