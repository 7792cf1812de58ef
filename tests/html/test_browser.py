"""The page in a real browser: what a reader does with it, and what it must never do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from grannfield.html import write_site
from tests.html.made import HOSTILE, board_of

playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need `pip install playwright`")
pytest.importorskip("plotly", reason="the page draws with plotly")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROME = os.environ.get("CHROME") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROME is None, reason="no Chromium on PATH, and none named by $CHROME")
WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE_MS = 60_000
N_MODELS = 20
CELL = 'tbody.models tr[data-words^="model 01 li3ps4"] td[data-m="rdf_mae"] button.cell'


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A board of 20 models, one of them with a name that is markup."""
    reports = tmp_path_factory.mktemp("board")
    board_of(reports, N_MODELS, hostile=True)
    (path,) = write_site(reports)
    assert path.stat().st_size < 15e6
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROME, args=["--no-sandbox", *WEBGL])
        yield found
        found.close()


class Watched:
    """A page, and all that it said or asked for."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(**{"viewport": {"width": 1440, "height": 900}} | settings)
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda problem: self.said.append(str(problem)))
        self.page.on("dialog", lambda dialog: self.said.append(f"alert: {dialog.message}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready]")

    def check(self) -> None:
        """No errors, no alerts, no requests but for the file itself and what it holds."""
        assert self.said == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture
def watched(browser: Any, address: str) -> Iterator[Watched]:
    found = Watched(browser, address)
    yield found
    found.check()
    found.page.close()


def column(page: Any, metric: str) -> list[float | None]:
    """What a column sorts by, in the order of the rows that are shown."""
    script = """metric => [...document.querySelectorAll('tbody.models tr:not([hidden])')].map(row => {
        const cell = row.querySelector(`td[data-m="${metric}"]`);
        return 'k' in cell.dataset ? Number(cell.dataset.k) : null; })"""
    found: list[float | None] = page.evaluate(script, metric)
    return found


def test_twenty_models_can_be_sorted_within_two_seconds(browser: Any, address: str) -> None:
    """From the address to the first sorted column, by the browser's own clock, once more if the machine was busy."""
    taken = []
    for _ in range(3):
        one = Watched(browser, address)
        script = """() => { document.querySelector('th[data-m="rdf_mae"] button').click(); document.body.offsetHeight;
            return performance.now(); }"""
        taken.append(float(one.page.evaluate("() => Number(document.documentElement.dataset.ready)")))
        before = one.page.evaluate("() => performance.now()")
        taken[-1] += one.page.evaluate(script) - before
        assert column(one.page, "rdf_mae")[0] == max(x for x in column(one.page, "rdf_mae") if x is not None)
        one.check()
        one.page.close()
        if min(taken) < 2000:
            break
    assert min(taken) < 2000, f"{taken} ms"


def test_sorting_goes_best_first_then_worst_and_leaves_what_has_no_number_last(watched: Watched) -> None:
    page, header = watched.page, 'th[data-m="rdf_mae"]'
    start = column(page, "rdf_mae")
    n_without = sum(key is None for key in start)
    assert 0 < n_without < len(start) == 3 * N_MODELS
    page.focus(f"{header} button")
    for key, best_first, said in (("Enter", True, "ascending"), ("Space", False, "descending")):
        page.keyboard.press(key)
        found = column(page, "rdf_mae")
        numbers = [x for x in found if x is not None]
        assert numbers == sorted(numbers, reverse=best_first)
        assert found[len(numbers) :] == [None] * n_without
        assert page.get_attribute(header, "aria-sort") == said, "the column is better when lower"
    assert "without a number are last" in page.inner_text("#said")
    page.keyboard.press("Enter")
    assert column(page, "rdf_mae") == start and page.get_attribute(header, "aria-sort") is None


def test_filters_leave_the_rows_that_were_asked_for(watched: Watched) -> None:
    page = watched.page
    shown = lambda: page.locator("tbody.models tr:not([hidden])").count()  # noqa: E731
    page.click('#material button[value="Li3PS4"]')
    assert shown() == N_MODELS and page.get_attribute('#material button[value="Li3PS4"]', "aria-pressed") == "true"
    page.select_option("#preset", "tiny")
    assert shown() == 5
    page.select_option("#verdict", "fusion")
    assert shown() == 1 and page.locator("tr:not([hidden]) td.match:not([hidden])").count() == 1
    page.click("#reset")
    assert shown() == 3 * N_MODELS
    page.fill("#search", "model 07 lgps")
    assert shown() == 1 and "1 of 60 rows" in page.inner_text("#count")
    page.fill("#search", "")
    page.click("#columns")
    page.uncheck('.choices input[value="rdf_mae"]')
    page.check('.choices input[value="jump_rate"]')
    assert page.is_hidden('th[data-m="rdf_mae"]') and page.is_visible('th[data-m="jump_rate"]')


def test_a_cell_opens_with_all_behind_it_and_escape_returns_to_it(watched: Watched) -> None:
    page = watched.page
    page.focus(CELL)
    assert "n = 40" in page.inner_text("#tip"), "n and interval on focus"
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] .js-plotly-plot .main-svg")
    text = page.inner_text("dialog")
    for wanted in (
        "RDF MAE",
        "95% interval",
        "n = 40",
        "not AIMD",
        "grannfield explain",
        "grannfield verify",
        "a computer",
        "0123456789ab",
    ):
        assert wanted.lower() in text.lower(), wanted
    assert page.evaluate("document.querySelector('dialog').contains(document.activeElement)")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate(f"document.activeElement === document.querySelector('{CELL}')")


def test_the_paths_are_drawn_in_three_dimensions(watched: Watched) -> None:
    page = watched.page
    page.set_viewport_size({"width": 700, "height": 500})
    page.evaluate("location.hash = '#paths=model%2001,Li10GeP2S12'")
    page.wait_for_selector("html[data-drawn3d]")
    page.wait_for_selector(".scene canvas")
    colours = page.evaluate(
        """async () => { const holder = document.querySelector('.scene .js-plotly-plot');
        const url = await Plotly.toImage(holder, { format: 'png', width: 240, height: 200 }), image = new Image();
        await new Promise(done => { image.onload = done; image.src = url; });
        const canvas = document.createElement('canvas'); canvas.width = 240; canvas.height = 200;
        const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
        return new Set(new Uint32Array(context.getImageData(0, 0, 240, 200).data.buffer)).size; }"""
    )
    assert colours > 50, "a surface with light and shade on it"
    assert "Not AIMD" in page.inner_text('section[data-page="paths"] .notice')


def test_models_are_compared_with_a_test_and_unknown_ones_are_named(watched: Watched) -> None:
    page = watched.page
    page.evaluate("location.hash = '#compare=model%2001,model%2002'")
    page.wait_for_selector('section[data-page="compare"] td.verdict .badge')
    assert "is better" in page.inner_text('section[data-page="compare"]')
    page.evaluate("location.hash = '#compare=model%2001,model%2000'")
    page.wait_for_selector("text=No paired verdicts")
    page.evaluate("location.hash = '#model=nobody'")
    page.wait_for_selector("text=There is no model called nobody")


def test_a_name_that_is_markup_is_text_wherever_it_stands(watched: Watched) -> None:
    page = watched.page
    page.set_viewport_size({"width": 400, "height": 500})
    assert page.locator("tbody.models .name", has_text=HOSTILE).count() == 3
    for route in (f"#model={quote(HOSTILE)}", f"#compare={quote(HOSTILE)},model%2001", f"#paths={quote(HOSTILE)},Li3PS4"):
        page.evaluate("route => { location.hash = route; }", route)
        page.locator("section:not([hidden])", has_text=HOSTILE).first.wait_for()
        assert page.locator("img[src=x]").count() == 0


def test_a_phone_scrolls_no_page_sideways_and_the_label_stays_in_sight(browser: Any, address: str) -> None:
    one = Watched(browser, address, viewport={"width": 360, "height": 740})
    for route in (
        "board",
        "model=model%2001",
        "compare=model%2001,model%2002",
        "paper",
        "tiers",
        "deviations",
        "legend",
        "models",
    ):
        one.page.evaluate("route => { location.hash = route; }", route)
        one.page.wait_for_selector(f'section[data-page="{route.partition("=")[0]}"]:not([hidden]) h1')
        assert one.page.evaluate("document.documentElement.scrollWidth") <= 360, route
        one.page.evaluate("scrollTo(0, 400)")
        assert one.page.evaluate("document.querySelector('.notice').getBoundingClientRect().top") >= 0
    one.check()
    one.page.close()


def test_dark_follows_the_system_and_the_switch_is_remembered(browser: Any, address: str) -> None:
    one = Watched(browser, address, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = one.page.evaluate(ground)
    one.page.click("#theme")
    assert one.page.evaluate(ground) != dark
    one.page.reload()
    assert one.page.evaluate("document.documentElement.dataset.theme") == "light"
    one.check()
    one.page.close()


def test_texts_stand_out_from_their_ground_in_both_themes(browser: Any, address: str) -> None:
    """Contrast of at least 4.5 (WCAG 2.2, 1.4.3) for every text on the board, names for every control."""
    script = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
    for theme in ("light", "dark"):
        one = Watched(browser, address, color_scheme=theme)
        assert one.page.evaluate(script) == [[], [], True, 0]
        one.page.close()
