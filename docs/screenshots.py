"""Pictures of the HTML board for README and docs: `python docs/screenshots.py [REPORTS]`, with Chromium and playwright.

Writes docs/images/report-board.png and report-cell.png, at most 120 KB each: a palette of 64 colours.
"""

from __future__ import annotations

import os
import shutil
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from grannfield.html import write_site

IMAGES = Path(__file__).parent / "images"
WEBGL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
COLOURS = 64
PATIENCE_MS = 180_000


def keep(name: str, shot: bytes) -> None:
    """Write a screenshot with few colours."""
    from PIL import Image

    path = IMAGES / name
    picture = Image.open(BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} KB")


def photograph(page: Any) -> None:
    """The board, and the ways of the ions of the first model."""
    keep("report-board.png", page.screenshot())
    page.evaluate("location.hash = '#paths'")
    page.wait_for_selector("html[data-drawn3d]")
    page.wait_for_timeout(2000)
    keep("report-cell.png", page.screenshot())


def main() -> None:
    """Write the board and photograph it."""
    from playwright.sync_api import sync_playwright

    reports = Path(sys.argv[1] if len(sys.argv) > 1 else "reports")
    chrome = os.environ.get("CHROME") or shutil.which("chromium") or shutil.which("google-chrome")
    IMAGES.mkdir(parents=True, exist_ok=True)
    (path,) = write_site(reports)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chrome, args=WEBGL)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(path.resolve().as_uri())
        photograph(page)
        browser.close()


if __name__ == "__main__":
    main()
