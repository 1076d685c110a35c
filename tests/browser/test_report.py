"""The comparison page of a sweep, in a real browser."""

from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By

from tests.browser.conftest import METHODS, screenshot

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture
def report(browser: Chrome, swept: Path) -> Chrome:
    (file,) = swept.glob("smoke-*/report/report.html")
    browser.get(file.as_uri())
    return browser


def _shown(browser: Chrome) -> list[str]:
    """The configurations in the rows of the results that are shown, in their order."""
    rows = browser.find_elements(By.CSS_SELECTOR, "#results tbody tr")
    return [row.find_elements(By.TAG_NAME, "td")[0].text for row in rows if row.is_displayed()]


def _opacity(browser: Chrome, label: str) -> float:
    rank = browser.execute_script(
        "return [...document.querySelectorAll('nav button')].find(b => b.textContent === arguments[0]).dataset.i",
        label,
    )
    line = browser.find_element(By.CSS_SELECTOR, f"#round g.s[data-i='{rank}']")
    return float(line.value_of_css_property("opacity"))


def test_pointer_on_the_legend_highlights_a_configuration(report: Chrome) -> None:
    screenshot(report, "report", height=1400)
    button = report.find_element(By.XPATH, "//nav//button[text()='topk']")
    ActionChains(report).move_to_element(button).perform()
    assert (_opacity(report, "topk"), _opacity(report, "fedavg")) == (1.0, 0.12)
    ActionChains(report).move_to_element(report.find_element(By.TAG_NAME, "h1")).perform()
    assert _opacity(report, "fedavg") == 1.0


def test_click_on_the_legend_isolates_a_configuration(report: Chrome) -> None:
    button = report.find_element(By.XPATH, "//nav//button[text()='topk']")
    button.click()
    assert _shown(report) == ["topk"]
    button.click()
    assert set(_shown(report)) == set(METHODS)


def test_results_are_sorted_and_filtered(report: Chrome) -> None:
    head = report.find_element(By.XPATH, "//table[@id='results']//th[text()='upload']")
    head.click()
    falling = _shown(report)
    assert falling[0] == "fedavg", "the only dense method uploads most"
    head.click()
    assert _shown(report) == falling[::-1]
    report.find_element(By.CSS_SELECTOR, "input[type=search]").send_keys("fed")
    assert set(_shown(report)) == {"fedavg", "feddst"}
