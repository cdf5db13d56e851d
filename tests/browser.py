"""Reports in a real browser: Debian's Chromium, without a window, watched for errors and for the network."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the tests that use it are skipped where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Debian's chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A report in a window of its own, with a storage of its own.

    Args:
        browser: from `chromium`.
        file: the report.
        options: of Playwright's `new_context`.
    """

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.file = file
        self.problems: list[str] = []
        self.context = browser.new_context(**({"viewport": {"width": 1200, "height": 800}} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("console", lambda message: self.problems.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", lambda request: self._check(request.url))
        self.page.goto(file.as_uri())

    def open(self, file: Path) -> None:
        """Open a report in the same window, with nothing in its storage."""
        self.file = file
        self.page.evaluate("localStorage.clear()")
        self.page.goto(file.as_uri())

    def _check(self, address: str) -> None:
        if urlsplit(address).scheme not in ("file", "data", "blob"):
            self.problems.append(f"request: {address}")

    def close(self) -> None:
        """Close the window, and check it."""
        self.context.close()
        self.check()

    def check(self) -> None:
        """Fail if the page complained of anything, or used the network."""
        problems, self.problems = self.problems, []
        assert problems == []

    def forgive(self, problem: str) -> None:
        """Expect complaints of one kind."""
        assert any(problem in one for one in self.problems)
        self.problems = [one for one in self.problems if problem not in one]

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def wait(self, condition: str) -> None:
        """Wait until a script says true; Playwright's own way is to `eval` it, which the page forbids."""
        end = time.monotonic() + 30
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(20)

    def text(self, selector: str) -> str:
        """The text of an element."""
        return str(self.page.locator(selector).inner_text())

    def names(self) -> list[str]:
        """The files of the images in view, in order."""
        cells = "[...document.querySelectorAll('.cell')].sort((a, b) => a.dataset.place - b.dataset.place)"
        return list(self.page.evaluate(f"{cells}.map((cell) => cell.querySelector('.name').textContent)"))

    def active(self) -> str:
        """What a screen reader says of the active image."""
        return str(self.page.locator(".cell[aria-selected=true]").get_attribute("aria-label"))

    def fastest(self, timed: str) -> float:
        """The least of several times that a script measures: what else the machine does is not the page's."""
        return min(float(self.page.evaluate(timed)) for _ in range(5))

    def exported(self) -> bytes:
        """The file that the export button saves."""
        with self.page.expect_download() as download:
            self.page.click("#export")
        assert download.value.suggested_filename == "corrections.csv"
        return Path(download.value.path()).read_bytes()
