"""The page in a headless browser: a person sends observations and sees decisions, what mattered, and the session."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from seqel.agents.agent import Agent
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.http.app import make_app
from support_browser import chromium, needs_chromium
from support_serving import free_port, make_service

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1000, "height": 900})
    found = context.new_page()
    found.messages = []
    found.on("console", lambda message: found.messages.append(message.text))
    found.on("pageerror", lambda error: found.messages.append(str(error)))
    yield found
    context.close()


class Running:
    """A service on a port, in a thread."""

    def __init__(self, agent: Agent) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        app = make_app(make_service(TorchBackend(agent, 8), agent=agent))
        self.server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="on"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        until = time.monotonic() + 20
        while not self.server.started and time.monotonic() < until:
            time.sleep(0.02)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def maze(pair: Any) -> Iterator[Running]:
    running = Running(pair.agent)
    yield running
    running.stop()


def send(page: Any, observation: str, reward: str = "0") -> None:
    page.fill("[data-name=observation]", observation)
    page.fill("#reward", reward)
    page.click("#send")
    page.wait_for_selector("#send:not([disabled])")


def test_a_person_sends_steps_and_sees_what_happens(page: Any, maze: Running, pair: Any) -> None:
    page.goto(maze.url)
    page.wait_for_selector("[data-name=observation]")
    assert "Somewhere-v0" in page.text_content("#agent")
    assert page.input_value("[data-name=observation]") == "[0,0,0]"
    state, actions = None, []
    for step in range(4):
        send(page, f"[{step}, 0.5, -1]", str(step / 2))
        playwright.expect(page.locator("#timeline tbody tr")).to_have_count(step + 1)
        reward = step / 2 if step else 0.0
        decision, state = pair.agent.act([[step, 0.5, -1.0]], state, reward=reward)
        actions.append(int(decision.action[0]))
        playwright.expect(page.locator("#action")).to_have_text(f"Action: {actions[-1]}")
    assert page.locator("#scores .bar").count() == 3
    assert page.locator("#scores .bar.chosen span").first.text_content() == str(actions[-1])
    playwright.expect(page.locator("#look .strip span")).to_have_count(3)
    rows = page.locator("#timeline tbody tr")
    assert rows.first.locator("td").first.text_content() == "3"  # the latest first
    assert rows.nth(1).locator("td").nth(3).text_content() == "1.5"  # the reward of step 2, which came with step 3
    page.click("#restart")
    playwright.expect(page.locator("#timeline tbody tr")).to_have_count(0)
    send(page, "[0, 0, 0]")
    playwright.expect(page.locator("#timeline tbody tr")).to_have_count(1)
    assert page.messages == []


def test_mistakes_are_explained(page: Any, maze: Running) -> None:
    page.goto(maze.url)
    page.wait_for_selector("[data-name=observation]")
    send(page, "[1, 2")
    assert "not valid JSON" in page.text_content("#error")
    send(page, "[1, 2]")
    playwright.expect(page.locator("#error")).to_contain_text("observation")
    send(page, "[1, 2, 3]")
    playwright.expect(page.locator("#error")).to_be_hidden()


def test_the_page_fits_a_phone(browser: Any, maze: Running) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 700})
    page = context.new_page()
    page.goto(maze.url)
    page.wait_for_selector("[data-name=observation]")
    send(page, "[1, 2, 3]")
    playwright.expect(page.locator("#timeline tbody tr")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_the_page_needs_nothing_from_elsewhere(page: Any, maze: Running) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(maze.url)
    page.wait_for_selector("[data-name=observation]")
    assert asked and all(one.startswith((maze.url, "data:")) for one in asked)
    assert httpx.get(maze.url).status_code == 200
