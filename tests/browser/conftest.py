"""Fixtures: a headless Chromium, and the MLflow UI on a sweep. Tests skip when Chromium is not installed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    JavascriptException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

#: errors for an element that is missing, stale or covered while the page loads
_PAGE_LOADING = (
    NoSuchElementException,
    StaleElementReferenceException,
    ElementClickInterceptedException,
    ElementNotInteractableException,
    JavascriptException,
)
#: the browser's window
WIDTH, HEIGHT = 1500, 1000
#: switches off accounts, updates and connections to other hosts
_CHROME_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    f"--window-size={WIDTH},{HEIGHT}",
)
#: the methods of the sweep that the tests show
METHODS = ("feddst", "fedavg", "randommask", "topk")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium with a new profile."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium with chromedriver is installed")
    options = ChromeOptions()
    options.binary_location = program
    for argument in (*_CHROME_ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    chrome = Chrome(options=options, service=Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


@pytest.fixture(scope="session")
def swept(browser: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage folder with one sweep over `METHODS`; the sweep runs only when a browser is installed."""
    storage = tmp_path_factory.mktemp("swept")
    command = [sys.executable, "-m", "orchestrator.cli", "sweep", "smoke", "--storage", str(storage)]
    options = [f"algorithm.name=[{', '.join(METHODS)}]", "runtime.executor=inprocess"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return storage


@pytest.fixture(scope="session")
def announced(swept: Path) -> Iterator[str]:
    """The page that `sparsefleet ui` prints for the storage folder of the sweep, when its server answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "orchestrator.cli", "ui", "--storage", str(swept), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[2]
        finally:
            server.send_signal(signal.SIGINT)


@pytest.fixture(scope="session")
def ui(announced: str) -> str:
    """The address of the MLflow UI."""
    return announced.partition("/#")[0]


@pytest.fixture
def page(browser: Chrome, ui: str) -> Callable[..., None]:
    """Opens a page of the UI, waits until the page shows all given words, and saves a screenshot.

    The first word is the name of the screenshot.
    """

    def open_page(path: str, *words: str) -> None:
        # the browser does not reload a page that differs only in its fragment, and would keep its unfolded rows
        browser.get(f"{ui}/health")
        browser.execute_script("localStorage.clear()")
        browser.get(f"{ui}/#{path}")
        wait_for_words(browser, *words)
        for button in browser.find_elements(By.CSS_SELECTOR, "[data-component-id$='chat_panel.close']"):
            button.click()
        screenshot(browser, words[0])

    return open_page


def wait_for(browser: Chrome, condition: Callable[[Chrome], bool], what: str) -> None:
    """Wait until a condition is true; errors of a loading page cause another attempt."""
    WebDriverWait(browser, 120, ignored_exceptions=_PAGE_LOADING).until(condition, f"did not appear: {what}")


def do(browser: Chrome, action: Callable[[WebElement], None], locator: str, name: str) -> None:
    """Apply an action to an element of the page when the element is ready; `locator` is a strategy of `By`."""

    def is_done(chrome: Chrome) -> bool:
        action(chrome.find_element(locator, name))
        return True

    wait_for(browser, is_done, name)


def wait_for_words(browser: Chrome, *words: str) -> None:
    """Wait until the page's text contains all words."""

    def are_shown(chrome: Chrome) -> bool:
        text = chrome.find_element(By.TAG_NAME, "body").text
        return all(word in text for word in words)

    wait_for(browser, are_shown, ", ".join(words))


def screenshot(browser: Chrome, name: str, height: int = HEIGHT) -> None:
    """Save a screenshot of a window of this height if SPARSEFLEET_SCREENSHOTS names a folder."""
    if folder := os.environ.get("SPARSEFLEET_SCREENSHOTS"):
        browser.set_window_size(WIDTH, height)
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
        browser.save_screenshot(str(Path(folder) / f"{file}.png"))
        browser.set_window_size(WIDTH, HEIGHT)
