"""report.html in a real browser: a run of 1,000 trials, on a desk and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from spnas.search.report import report_run

from .made_up import make_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs spnas[browser]")
    if _CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = make_run(tmp_path_factory.mktemp("browser"), 1000, error="<img src=x onerror=alert(1)>")
    return report_run(run).as_uri()


def open_page(browser: Browser, address: str, said: list[str], **context: Any) -> Page:
    """Open the page; whatever the console says, fails or is asked of a network is put into `said`."""
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(120_000)  # beside other tests
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url != address else None)
    page.goto(address)
    page.wait_for_selector("#chart-costs .main-svg")
    return page


def centre(page: Page, trace: int, point: int) -> tuple[float, float]:
    """Give where a point of the front's chart is."""
    page.locator("#chart-front").scroll_into_view_if_needed()
    box = page.locator("#chart-front .trace.scatter").nth(trace).locator(".point").nth(point)
    place = box.bounding_box()
    assert place is not None
    return place["x"] + place["width"] / 2, place["y"] + place["height"] / 2


def test_on_a_desk_it_hovers_zooms_and_tells_of_an_architecture(
    browser: Browser, address: str
) -> None:
    said: list[str] = []
    page = open_page(browser, address, said, viewport={"width": 1280, "height": 900})
    x, y = centre(page, trace=1, point=2)
    page.mouse.move(x, y)
    page.wait_for_selector("#chart-front .hovertext")
    told = page.locator("#chart-front .hovertext").text_content()
    assert told is not None
    assert "of the base" in told
    page.mouse.click(x, y)
    page.wait_for_selector("#detail dl")
    sites = page.locator("#detail dd").all_text_contents()
    assert sum(len(text.split(", ")) for text in sites) == 39

    axis = "document.getElementById('chart-front').layout.xaxis.range"
    before = page.evaluate(axis)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 200, y + 100, steps=4)
    page.mouse.up()
    after = page.evaluate(axis)
    assert after[1] - after[0] < (before[1] - before[0]) / 2
    assert said == []


def test_on_a_phone_in_the_dark_it_is_as_wide_as_the_screen(browser: Browser, address: str) -> None:
    said: list[str] = []
    page = open_page(
        browser,
        address,
        said,
        viewport={"width": 390, "height": 844},
        color_scheme="dark",
        has_touch=True,
        is_mobile=True,
    )
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('.scroll').scrollWidth") > 390  # in its own box
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = page.evaluate("document.getElementById('chart-front').layout.font.color")
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != background
    page.wait_for_function(f"document.getElementById('chart-front').layout.font.color !== '{ink}'")
    page.touchscreen.tap(*centre(page, trace=1, point=2))
    page.wait_for_selector("#detail dl")
    assert said == []
