"""The page in headless Chromium, before a whole demo line: server, nucleus and inspector as processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from support.waiting import until

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
        self.directory = directory
        self.demo = DemoLine(directory, sockets, SEED)
        self.demo.record()
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

    @contextmanager
    def screen(self, name: str, width: int, height: int, scheme: str) -> Iterator[None]:
        """A screen of this size, light or dark; a picture of it is taken at the end, where pictures are wanted."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        colors = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", colors)
        try:
            yield
            if SCREENSHOTS:
                self.browser.save_screenshot(str(Path(SCREENSHOTS) / f"page-{name}.png"))
        finally:
            self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {})

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
    with line.screen(name, width, height, scheme):
        assert line.run("return document.documentElement.scrollWidth") <= width
        # Verdict and newest part need no scrolling.
        assert line.find(".verdict strong").rect["y"] < height
        dark = line.run("return getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 23)"
        assert dark == (scheme == "dark")


def _lines(line: Line) -> Dict[str, Dict[str, Any]]:
    """Of the recorder's manifest, by the names of the images."""
    text = (line.directory / "recorded" / "line-1.manifest").read_text()
    lines = [json.loads(one) for one in text.splitlines()]
    return {Path(one["source-ref"]).stem: one for one in lines}


def _review(line: Line) -> None:
    """Go to the review, and to the newest image."""
    line.find("nav a[href='#/review']").click()
    until(lambda: line.find("#review").is_displayed(), what="the review")
    until(lambda: line.find("#review").get_attribute("aria-busy") == "false", what="the end of the search")
    assert len(line.all(".neighbours li")) == PARTS
    line.all(".neighbours button")[0].click()


def _type(line: Line, keys: str) -> None:
    webdriver.ActionChains(line.browser).send_keys(keys).perform()


def _shown(line: Line) -> str:
    """The name of the image that is looked at."""
    return str(line.find(".picture").get_attribute("src").split("/")[-2])


def test_two_images_are_reviewed_by_key_and_the_manifest_has_the_labels(line: Line) -> None:
    before = _lines(line)
    newest_first = sorted(before, reverse=True)
    _review(line)
    # The newest is scratched, as the model says.
    assert _shown(line) == newest_first[0]
    assert line.text(".said strong").endswith("anomalous")
    until(lambda: line.run("return document.querySelector('.picture').naturalWidth") > 0, what="the picture")
    until(lambda: line.run("return document.querySelector('.over').naturalWidth") > 0, what="the mask")
    _type(line, "r")
    assert _shown(line) == newest_first[1]
    _type(line, "n")
    _type(line, "a reflection\ue007")  # Enter
    _type(line, "w")
    assert _shown(line) == newest_first[2]
    until(lambda: "2 reviewed; the model was right in 50.0 %" in line.text(".counts"), what="both reviews")
    until(lambda: sum("review" in one for one in _lines(line).values()) == 2, what="two labels in the manifest")
    after = _lines(line)
    right, wrong = (after[name] for name in newest_first[:2])
    assert (right["anomaly-label"], right["anomaly-label-metadata"]["human-annotated"]) == (1, "yes")
    assert "anomaly-mask-ref" in right
    said = before[newest_first[1]]["anomaly-label"]
    assert (wrong["anomaly-label"], wrong["anomaly-label-metadata"]["human-annotated"]) == (1 - said, "yes")
    assert wrong["review"]["note"] == "a reflection"
    assert {name: one for name, one in after.items() if name not in newest_first[:2]} == {
        name: one for name, one in before.items() if name not in newest_first[:2]
    }


def test_a_review_is_taken_back_by_key(line: Line) -> None:
    before = _lines(line)
    _review(line)
    _type(line, "\ue014\ue014\ue014\ue012")  # three to the right, one to the left
    name = _shown(line)
    assert name == sorted(before, reverse=True)[2]
    _type(line, "w")
    until(lambda: _lines(line)[name] != before[name], what="the review")
    _type(line, "u")
    assert _shown(line) == name
    until(lambda: _lines(line) == before, what="the line as it was")
    assert "the review is taken back" in line.text(".told")


def test_keys_do_nothing_while_they_are_off_or_a_text_is_written(line: Line) -> None:
    before = _lines(line)
    _review(line)
    _type(line, "n")
    _type(line, "wr")
    assert line.find(".note").get_property("value") == "wr"
    _type(line, "\ue00c")  # Escape
    line.run(
        "document.querySelector('.note').value = ''; document.querySelector('.note').dispatchEvent(new Event('input'))"
    )
    line.find(".keys").click()
    shown = _shown(line)
    _type(line, "w")
    line.find(".keys").click()
    _type(line, "m")
    assert line.find(".over").value_of_css_property("visibility") == "hidden"
    _type(line, "m")
    assert _shown(line) == shown
    assert _lines(line) == before


def test_images_are_filtered(line: Line) -> None:
    _review(line)
    choose = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', { bubbles: true }))"
    anomalous = sum(verdict.message["is_anomalous"] for verdict in line.verdicts)
    line.run(choose, line.find("[name=verdict]"), "anomalous")
    until(lambda: len(line.all(".neighbours li.anomalous")) == len(line.all(".neighbours li")) == anomalous)
    line.run(choose, line.find("[name=reviewed]"), "yes")
    until(lambda: line.text(".counts").startswith("1 of 6") or line.text(".counts").startswith("2 of 6"))
    line.run(choose, line.find("[name=below]"), "0.05")
    until(lambda: line.text(".nothing") == "No recorded image is like that.")
    assert not line.find(".desk").is_displayed()
    for name in ("verdict", "reviewed", "below"):
        line.run(choose, line.find(f"[name={name}]"), "")
    until(lambda: len(line.all(".neighbours li")) == PARTS)
    line.find("nav a[href='#/lanes']").click()
    until(lambda: line.find(".lane").is_displayed())


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [
        ("review", 1280, 720, "light"),
        ("review-dark", 1280, 720, "dark"),
        ("review-panel", 1024, 600, "light"),
        ("review-phone", 390, 844, "dark"),
    ],
)
def test_the_review_fits_the_screen(line: Line, name: str, width: int, height: int, scheme: str) -> None:
    with line.screen(name, width, height, scheme):
        line.browser.refresh()
        _review(line)
        until(
            lambda: line.run("return [...document.querySelectorAll('#review img[src]')].every((i) => i.naturalWidth)")
        )
        assert line.run("return document.documentElement.scrollWidth") <= width
        assert line.run("return scrollY") == 0
        # What is looked at, and the buttons that judge it, need no scrolling.
        for selector in (".picture", ".said strong", ".wrong", ".older"):
            box = line.find(selector).rect
            assert box["y"] + box["height"] <= height


@pytest.mark.parametrize("view", ["lanes", "review"])
def test_everything_that_can_be_pressed_has_a_name(line: Line, view: str) -> None:
    line.find(f"nav a[href='#/{view}']").click()
    until(lambda: line.find("#review").is_displayed() == (view == "review"))
    unnamed = line.run(
        "return [...document.querySelectorAll('button, input, select, a[href]')].filter((e) => e.offsetParent &&"
        " !(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length))).map((e) => e.outerHTML)"
    )
    assert unnamed == []


def test_the_browser_had_nothing_to_complain_about(line: Line) -> None:
    complaints: Callable[[Any], bool] = lambda entry: entry["level"] in ("SEVERE", "WARNING")  # noqa: E731 - typed
    assert [entry for entry in line.browser.get_log("browser") if complaints(entry)] == []


def test_an_image_that_went_is_said_to_have_gone(line: Line) -> None:
    """The last test: the browser complains of what it did not get."""
    _review(line)
    name = _shown(line)
    (line.directory / "recorded" / _lines(line)[name]["source-ref"]).unlink()
    before = _lines(line)
    _type(line, "w")
    until(lambda: "not any more" in line.text("#message"), what="the message")
    _type(line, "\ue012")  # back to it
    until(lambda: line.text("#review .label") == "This image is not there any more.")
    assert _lines(line) == before
