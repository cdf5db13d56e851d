"""Writes a report: collects the images of a run, and makes the page with their thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from clipcli.errors import ImageError
from clipcli.files import check_place, replacing
from clipcli.images.decode import MAX_PIXELS
from clipcli.output.consumers import Consumer
from clipcli.output.report import page
from clipcli.output.report.about import About
from clipcli.output.report.records import ReportImage, predicted
from clipcli.output.report.thumbnails import (
    MOST_INSIDE,
    Beside,
    Inside,
    Thumbnail,
    folder_beside,
    forget_others,
    thumbnails,
)
from clipcli.records import Outcome
from clipcli.remote.addresses import address_of

Tracked: TypeAlias = Callable[[Iterable[Thumbnail], int], Iterable[Thumbnail]]
"""Passes thumbnails on as they are made, and may show how far they are; it is told how many there will be."""


class ReportWriter(Consumer[Outcome]):
    """Collects the images of a run, of which `write` makes the report once the run has ended.

    Args:
        path: the page.
        image_of: what the report shows of an outcome.

    Raises:
        UsageError: the folder of the page does not exist.
        OutputError: the page cannot be written.
    """

    def __init__(self, path: Path, image_of: Callable[[Outcome], ReportImage] = predicted) -> None:
        check_place(path)
        self.path = path
        self.images: list[ReportImage] = []
        self._image_of = image_of

    def add(self, outcome: Outcome) -> None:
        """Take one outcome."""
        self.images.append(self._image_of(outcome))

    def write(
        self,
        about: About,
        max_pixels: int = MAX_PIXELS,
        workers: int | None = None,
        tracked: Tracked = lambda made, count: made,
    ) -> int:
        """Write the page; it appears complete or not at all.

        The image files are read for this, and decoded once more. The thumbnails of more than `MOST_INSIDE`
        images go to a folder beside the page, `report_files` for `report.html`, unless it lies in a bucket.

        Args:
            about: the run as a whole.
            max_pixels: images with more pixels get no thumbnail.
            workers: threads that make thumbnails; None is one per core.
            tracked: shows how far the thumbnails are.

        Returns:
            how many images have labels and no thumbnail, since they cannot be read any more.

        Raises:
            OutputError: the page or a thumbnail cannot be written.
        """
        folder, lost = folder_beside(self.path), 0
        names = [one.path or one.predicted.image for one in self.images]
        with replacing(self.path) as unfinished:
            is_inside = len(names) <= MOST_INSIDE or address_of(self.path) is not None
            store = Inside() if is_inside else Beside(folder)
            made = tracked(thumbnails(names, max_pixels, workers), len(names))
            for image, thumbnail in zip(self.images, made, strict=True):
                store.add(thumbnail)
                lost += isinstance(thumbnail, ImageError) and image.predicted.status != "error"
            with unfinished.open("wb") as file:
                file.writelines(page.render(self.images, about, self.path, store))
        forget_others(folder, store.references)
        return lost
