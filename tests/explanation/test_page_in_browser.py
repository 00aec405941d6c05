"""The page in a headless browser, opened from a file: a person scrubs through an episode and sees what decisions rest on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.explanation.page import report_page
from seqel.explanation.report import Report, explain_episode
from seqel.explanation.trace import EpisodeTrace
from seqel.spaces import ObservationSpec
from seqel.spaces.text_readers import hash_text
from support_browser import chromium, needs_chromium
from support_explanation import make_agent

pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
pytestmark = needs_chromium
TEXTS = [f"step {n} </script><script>document.title='taken'</script> <b>bold</b> 🎉 {'long' * 40}" for n in range(12)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report() -> Report:
    spec = ObservationSpec.from_space(
        gym.spaces.Dict({"said": gym.spaces.Text(400), "age": gym.spaces.Box(-9, 9, (2,))})
    )
    agent = make_agent((3,), spec, value="hl-gauss", bins=9)
    rng = np.random.default_rng(0)
    trace = EpisodeTrace(
        {"age": rng.normal(size=(13, 2)).astype(np.float32), "said": np.stack([hash_text(text) for text in [*TEXTS, ""]])},
        rng.integers(0, 3, 12), rng.normal(size=12).astype(np.float32), np.zeros((0, 0), np.float32), None,
    )  # fmt: skip
    frames: list[Any] = [np.full((20, 30, 3), 10 * n, np.uint8) for n in range(13)]
    return explain_episode(
        agent,
        trace,
        texts={"said": dict(enumerate(TEXTS))},
        frames=frames,
        action_names=["<i>left</i>", "stay", "right"],
    )


@pytest.fixture(scope="module")
def file(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(
        report_page(report, "An <b>episode</b>", [("seed", "0")], start=8, counterfactuals={8: "With <x> ..."}), "utf-8"
    )
    return path


@pytest.fixture(params=[(1000, "light"), (360, "dark")], ids=["desktop", "phone"])
def page(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    found = context.new_page()
    found.messages, found.asked = [], []
    found.on("console", lambda message: found.messages.append(message.text))
    found.on("pageerror", lambda error: found.messages.append(str(error)))
    found.on("request", lambda request: found.asked.append(request.url))
    found.goto(file.as_uri())
    yield found
    assert found.messages == []
    context.close()


def test_it_opens_at_the_decision_in_question(page: Any, report: Report) -> None:
    assert page.title() == "An <b>episode</b>" == page.text_content("h1")
    assert page.text_content("#place") == "step 8 of 11"
    assert page.text_content("#counterfactual") == "With <x> ..."
    bars = page.locator("#bars .bar")
    assert bars.count() == 3
    assert page.locator("#bars .bar.chosen span").first.text_content() == next(
        b.name for b in report.steps[8].scores if b.chosen
    )
    assert "±" in page.text_content("#bars") and page.locator("#bars u").count() == 3
    assert page.locator(".strip canvas").count() == len(report.methods) == 5
    assert page.locator("#screen img").evaluate("image => image.naturalWidth") == 30
    assert all(url.startswith(("file:", "data:")) for url in page.asked)


def test_keys_and_clicks_move_through_the_episode(page: Any) -> None:
    place = lambda: page.text_content("#place").split()[1]  # noqa: E731
    for key, expected in (
        ("ArrowLeft", "7"), ("Home", "0"), ("ArrowLeft", "0"), ("ArrowRight", "1"), ("PageDown", "11"), ("ArrowRight", "11"),
        ("i", "8"), ("PageUp", "0"), ("End", "11"),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert place() == expected, key
    page.focus("#slider")
    page.keyboard.press("ArrowLeft")  # once, not once more by the slider itself
    assert place() == "10" and page.input_value("#slider") == "10"
    box = page.locator(".strip canvas").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 2.5 / 12, box["y"] + 5)
    assert place() == "2"
    page.click("#forward")
    assert place() == "3" and page.text_content("#counterfactual") == ""
    page.locator("#list button").first.click()
    assert int(place()) < 3


def test_strips_are_drawn_from_the_attributions(page: Any, report: Report) -> None:
    """The tallest bar of the first strip is the step with the largest occlusion."""
    page.keyboard.press("End")
    past = np.abs(report.methods["occlusion"][11, :11])
    heights = page.evaluate(
        """() => {
          const c = document.querySelector(".strip canvas");
          const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
          return [...Array(11).keys()].map((n) => {
            const x = Math.floor((n + 0.4) * c.width / 12);
            let tall = 0;
            for (let y = 0; y < c.height; y += 1) if (d[4 * (y * c.width + x) + 3] > 0) tall += 1;
            return tall / c.height;
          });
        }"""
    )
    np.testing.assert_allclose(heights, past / past.max(), atol=0.1)
    label = page.locator(".strip canvas").first.get_attribute("aria-label")
    assert f"step {int(past.argmax())}," in label
    listed = page.locator("#list button").first.text_content()
    assert listed.startswith(f"step {int(past.argmax())},")


def test_words_are_highlighted_and_texts_stay_texts(page: Any, report: Report) -> None:
    assert page.locator("#texts .text").text_content() == TEXTS[8]
    marks = page.locator("#texts mark")
    words = report.words["said"][8]
    assert marks.count() == len(words.spans)
    strongest = int(np.abs(words.change[8]).argmax())
    begin, end = words.spans[strongest]
    assert marks.nth(strongest).text_content() == TEXTS[8][begin:end]
    assert "color-mix" in (marks.nth(strongest).get_attribute("style") or "")
    assert page.locator("main b").count() == 3 and page.locator("main i i").count() == 0  # only those of the bars
    assert page.title() != "taken"


def test_no_part_is_wider_than_the_screen(page: Any) -> None:
    for key in ("Home", "End"):
        page.keyboard.press(key)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
