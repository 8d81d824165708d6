"""The page in headless Chromium, before a whole demo line: server, nucleus and inspector as processes of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest
from support.plant import until

from edge_agent.demo import DemoLine, Verdict

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
By = pytest.importorskip("selenium.webdriver.common.by").By

#: A directory to keep the pictures of docs/page.md in.
SCREENSHOTS = os.environ.get("EDGE_AGENT_SCREENSHOTS", "")

DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    DRIVER is None, reason="there is no chromedriver (Debian packages chromium, chromium-driver)"
)

# Of this stream's first six parts the first and the last are scratched, the third has a crack.
SEED = 3
PARTS = 6


class Line:
    """A demo line that has made its parts, and a browser that looks at its page."""

    def __init__(self, directory: Path, sockets: Path) -> None:
        self.demo = DemoLine(directory, sockets, SEED)
        self.verdicts: List[Verdict] = []
        self.demo.start()
        self.browser = _browser()
        self.browser.get(self.demo.page)
        until(lambda: self.text("#link") == "live", what="the page's connection")

    def make_parts(self) -> None:
        # Slow enough for a picture of each.
        for verdict in self.demo.run(PARTS, 2.0):
            self.verdicts.append(verdict)

    def find(self, selector: str) -> Any:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> List[Any]:
        return list(self.browser.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector: str) -> str:
        return str(self.find(selector).text)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def close(self) -> None:
        self.browser.quit()
        self.demo.stop()


def _browser() -> Any:
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1400,1000",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with tempfile.TemporaryDirectory(prefix="ea-") as sockets:
        made = Line(tmp_path_factory.mktemp("demo"), Path(sockets))
        try:
            made.make_parts()
            until(lambda: len(made.all(".strip li")) == PARTS, what="every part in the strip")
            yield made
        finally:
            made.close()


def _sequences(line: Line, kind: str) -> List[int]:
    return sorted(int(item.get_attribute("title").split()[1].rstrip(":")) for item in line.all(f".strip li.{kind}"))


def test_the_sign_in_left_no_token_in_the_address(line: Line) -> None:
    assert "#" not in line.browser.current_url
    assert line.browser.current_url.endswith("/")


def test_a_scratch_is_seen_on_the_part_that_has_it(line: Line) -> None:
    found = {v.message["sequence"]: v.message for v in line.verdicts if v.message["is_anomalous"]}
    assert any(a["name"] == "scratch" for message in found.values() for a in message["anomalies"])
    assert _sequences(line, "anomalous") == sorted(found)
    assert _sequences(line, "normal") == sorted({v.message["sequence"] for v in line.verdicts} - set(found))
    for sequence, message in found.items():
        [item] = [one for one in line.all(".strip li") if one.get_attribute("title").startswith(f"Part {sequence}:")]
        named = {a["name"] for a in message["anomalies"]} - {"background"}
        assert set(item.get_attribute("title").split(": ")[1].split(", ")) == {"anomalous", *named}


def test_the_newest_part_has_its_picture_and_verdict(line: Line) -> None:
    newest = max(verdict.message["sequence"] for verdict in line.verdicts)
    until(lambda: line.find(".frame").get_attribute("alt").startswith(f"Part {newest},"), what="the newest picture")
    assert line.run("return document.querySelector('.frame').naturalWidth") > 0
    message = next(v.message for v in line.verdicts if v.message["sequence"] == newest)
    assert line.text(".verdict strong").endswith("anomalous" if message["is_anomalous"] else "normal")
    assert line.text(".frames tr.head td") == str(PARTS)
    assert line.text(".sum").endswith("the books balance")


def test_a_threshold_is_looked_at_asked_about_and_set(line: Line) -> None:
    slider = line.find(".threshold")
    move = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    line.run(move, slider, "1")
    assert "fewer" in line.text(".change")
    line.run(move, slider, "0.4")
    line.find(".set").click()
    assert "0.40" in line.text("#ask p")
    line.find("#ask [value=no]").click()
    until(lambda: not line.find("#ask").is_displayed())
    assert line.run("return lanes.get('line-1').state.threshold") is None
    line.find(".set").click()
    line.find("#ask .yes").click()
    until(lambda: line.run("return lanes.get('line-1').state.threshold") == 0.4, what="the threshold")
    line.find(".own").click()
    line.find("#ask .yes").click()
    until(lambda: line.run("return lanes.get('line-1').state.threshold") is None, what="the model's own threshold")


def test_a_lane_is_paused_and_resumed_by_keyboard(line: Line) -> None:
    _press(line, "[data-command=pause]")
    _press(line, "#ask .yes")
    until(lambda: line.text(".state") == "paused")
    _press(line, "[data-command=resume]")
    until(lambda: line.text(".state") == "running")


def _press(line: Line, selector: str) -> None:
    button = line.find(selector)
    until(button.is_enabled)
    line.run("arguments[0].focus()", button)
    button.send_keys("\ue007")  # Enter


def test_the_mask_is_shown_hidden_and_faded(line: Line) -> None:
    line.find(".show").click()
    assert line.find(".mask").value_of_css_property("visibility") == "hidden"
    line.find(".show").click()
    line.run("const o = document.querySelector('.opacity'); o.value = 25; o.dispatchEvent(new Event('input'))")
    assert line.find(".mask").value_of_css_property("opacity") == "0.25"
    line.run("const o = document.querySelector('.opacity'); o.value = 60; o.dispatchEvent(new Event('input'))")


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [
        ("light", 1400, 680, "light"),
        ("dark", 1400, 680, "dark"),
        ("panel", 1024, 600, "light"),
        ("phone", 390, 844, "dark"),
    ],
)
def test_it_fits_the_screen(line: Line, name: str, width: int, height: int, scheme: str) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    line.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    colors = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    line.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", colors)
    try:
        assert line.run("return document.documentElement.scrollWidth") <= width
        # Verdict and newest part need no scrolling.
        assert line.find(".verdict strong").rect["y"] < height
        dark = line.run("return getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"
        assert dark == (scheme == "dark")
        if SCREENSHOTS:
            line.browser.save_screenshot(str(Path(SCREENSHOTS) / f"page-{name}.png"))
    finally:
        line.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        line.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {})


def test_everything_that_can_be_pressed_has_a_name(line: Line) -> None:
    unnamed = line.run(
        "return [...document.querySelectorAll('button, input, a[href]')].filter((e) => e.offsetParent &&"
        " !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length))).map((e) => e.outerHTML)"
    )
    assert unnamed == []


def test_the_browser_had_nothing_to_complain_about(line: Line) -> None:
    complaints: Callable[[Any], bool] = lambda entry: entry["level"] in ("SEVERE", "WARNING")  # noqa: E731 - typed
    assert [entry for entry in line.browser.get_log("browser") if complaints(entry)] == []
