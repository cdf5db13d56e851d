"""Take photographs of real reports: `make docs-images` writes docs/images/report-*.webp.

The commands run with the bundled model on the examples; Debian's Chromium shows the pages.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CLASSES = ("--classes", "examples/drawings/classes.txt", "--model", "nano")
WIDE: dict[str, Any] = {"viewport": {"width": 1240, "height": 780}}
NARROW: dict[str, Any] = {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 1.5}


def run(*arguments: str | Path) -> None:
    """Run `clipcli` at the root of the repository."""
    command = [sys.executable, "-m", "clipcli", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def evaluated(folder: Path) -> Path:
    """A report of the examples, measured by their labels."""
    truth = pd.read_csv(ROOT / "examples" / "drawings" / "labels.csv")
    truth.image = [str(ROOT / "examples" / "drawings" / name) for name in truth.image]
    truth.to_csv(folder / "labels.csv", index=False)
    report = folder / "evaluation.html"
    run("eval", "examples/drawings", "--truth", folder / "labels.csv", *CLASSES, "-o", report)
    return report


def photograph(browser: Browser, name: str, report: Path, keys: str, **options: Any) -> None:
    """Open a report, press keys that a space parts, and store what it shows then.

    Args:
        browser: that shows it.
        name: of the image.
        report: the page.
        keys: as Playwright calls them.
        options: of the window.
    """
    page = browser.new_page(**options)
    page.goto(report.as_uri())
    for key in keys.split():
        page.keyboard.press(key)
    page.mouse.move(0, 0)
    page.wait_for_timeout(3500)  # thumbnails are shown, and messages are gone
    with Image.open(io.BytesIO(page.screenshot())) as shown:
        shown.save(IMAGES / f"report-{name}.webp", quality=82, method=6)
    page.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        report = Path(made) / "report.html"
        run("classify", "examples/drawings", *CLASSES, "--min-margin", "0.1", "-o", report)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        corrected = "2 ArrowRight 1 ArrowRight ArrowRight ArrowRight"
        photograph(chromium, "light", report, corrected, **WIDE)
        photograph(chromium, "large", report, "2 ArrowRight ArrowRight Enter", **WIDE)
        photograph(chromium, "dark", evaluated(Path(made)), "v", color_scheme="dark", **WIDE)
        gallery = Path(made) / "gallery.html"
        run("search", "a cat", "examples/drawings", "--model", "nano", "-k", "20", "-o", gallery)
        photograph(chromium, "gallery", gallery, "", **WIDE)
        photograph(chromium, "narrow", report, corrected, **NARROW)
