"""What a person sees of a sweep in MLflow's UI, in a real browser."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.conftest import METHODS, picture

BODY = (By.TAG_NAME, "body")
OpenPage = Callable[[str, str], str]
pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


@pytest.fixture
def runs(swept: Path) -> dict[str, Run]:
    """The sweep's MLflow runs by name, the sweep's own as "sweep"."""
    client = MlflowClient(f"sqlite:///{swept}/mlflow.db")
    experiment = client.get_experiment_by_name("sparsefleet")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {r.info.run_name if "mlflow.parentRunId" in r.data.tags else "sweep": r for r in found}


def of_experiment(runs: dict[str, Run]) -> str:
    """The path of the experiment's pages."""
    return f"/experiments/{runs['sweep'].info.experiment_id}"


def test_the_list_has_the_sweep_with_its_trials_below_it(
    page: OpenPage, browser: Chrome, runs: dict[str, Run]
) -> None:
    sweep_id = runs["sweep"].data.tags["sweep"]
    search = quote(f"tags.sweep = '{sweep_id}' and metrics.\"eval/accuracy\" > 0")
    assert sweep_id in page(f"{of_experiment(runs)}/runs?searchFilter={search}", "5 matching runs")
    unfold(browser)
    assert all(method in browser.find_element(*BODY).text for method in METHODS)
    picture(browser, "list")


def test_the_chart_page_draws_the_trials_by_kind_of_metric(
    page: OpenPage, browser: Chrome, runs: dict[str, Run]
) -> None:
    shown = page(f"{of_experiment(runs)}/runs?compareRunsMode=CHART", "5 matching runs")
    unfold(browser)
    assert "comm" in shown
    browser.find_element(By.CSS_SELECTOR, "input[placeholder='Search metric charts']").send_keys(
        "eval/accuracy"
    )
    WebDriverWait(browser, 60).until(lambda chrome: "topk (eval/accuracy)" in chrome.find_element(*BODY).text)
    picture(browser, "charts")


def test_four_runs_are_compared_by_their_params(page: OpenPage, runs: dict[str, Run]) -> None:
    shown = page(f"/compare-runs?{_four(runs)}", "Comparing 4 Runs from 1 Experiment")
    assert all(method in shown for method in METHODS)
    assert "algorithm.name" in shown
    assert "sparsity.level" in shown


def test_accuracy_of_four_runs_is_drawn_over_the_steps(
    page: OpenPage, browser: Chrome, runs: dict[str, Run]
) -> None:
    keys = (
        f"metric={quote(json.dumps('eval/accuracy'))}&plot_metric_keys={quote(json.dumps(['eval/accuracy']))}"
    )
    page(f"/metric?{_four(runs)}&{keys}", "Completed Runs")
    browser.find_element(By.XPATH, "//label[contains(., 'Step')]").click()
    title = (By.CSS_SELECTOR, ".js-plotly-plot .xtitle")
    WebDriverWait(browser, 60).until(lambda chrome: chrome.find_element(*title).text == "Step")
    picture(browser, "metric")
    script = "return document.querySelector('.js-plotly-plot').data.map(t => [t.name, Array.from(t.x || [])])"
    drawn = browser.execute_script(script)
    for method in METHODS:
        assert [0, 1, 2, 3, 4, 5] in [steps for name, steps in drawn if method in str(name)], drawn


def test_a_runs_artifacts_show_its_curves_and_the_sweeps_its_report(
    page: OpenPage, browser: Chrome, runs: dict[str, Run]
) -> None:
    for name, file in (("feddst", "curves.png"), ("sweep", "report/pareto.png")):
        path = f"{of_experiment(runs)}/runs/{runs[name].info.run_id}/artifacts/{file}"
        page(path, file.rpartition("/")[2])
        WebDriverWait(browser, 60).until(shows_a_picture)
        picture(browser, f"artifact {name}")


def shows_a_picture(browser: Chrome) -> bool:
    """Whether an image of some size has been loaded."""
    images = browser.find_elements(By.TAG_NAME, "img")
    return any(int(image.get_property("naturalWidth") or 0) > 400 for image in images)


def unfold(browser: Chrome) -> None:
    """Show the trials below the sweep's own run."""
    button = (By.CSS_SELECTOR, "button[data-component-id*='runnamecellrenderer']")
    WebDriverWait(browser, 60).until(lambda chrome: chrome.find_elements(*button))
    if METHODS[0] not in browser.find_element(*BODY).text:  # the page remembers what was unfolded before
        browser.find_element(*button).click()
    WebDriverWait(browser, 60).until(lambda chrome: METHODS[0] in chrome.find_element(*BODY).text)


def _four(runs: dict[str, Run]) -> str:
    ids = json.dumps([runs[method].info.run_id for method in METHODS], separators=(",", ":"))
    return f"runs={quote(ids)}&experiments={quote(json.dumps([runs['sweep'].info.experiment_id]))}"
