"""A sweep in the MLflow UI, in a real browser."""

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.conftest import METHODS, do, screenshot, wait_for, wait_for_words

OpenPage = Callable[..., None]
TRAINING = "workflowType=machine_learning"
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture
def runs(swept: Path) -> dict[str, Run]:
    """The sweep's MLflow runs by name, the sweep's own as "sweep"."""
    client = MlflowClient(f"sqlite:///{swept}/mlflow.db")
    experiment = client.get_experiment_by_name("sparsefleet")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {r.info.run_name if "mlflow.parentRunId" in r.data.tags else "sweep": r for r in found}


def of_experiment(runs: dict[str, Run]) -> str:
    """The URL path of the experiment's pages."""
    return f"/experiments/{runs['sweep'].info.experiment_id}"


def test_page_that_the_command_prints_shows_the_sweep(
    browser: Chrome, announced: str, runs: dict[str, Run]
) -> None:
    browser.get(announced)
    wait_for_words(
        browser, runs["sweep"].data.tags["sweep"], "matching run", "personal_accuracy", "Sort: Created"
    )
    screenshot(browser, "announced")


def test_run_list_shows_the_trials_below_their_sweep(
    page: OpenPage, browser: Chrome, runs: dict[str, Run]
) -> None:
    sweep_id = runs["sweep"].data.tags["sweep"]
    search = quote(f"tags.sweep = '{sweep_id}' and metrics.\"eval/accuracy\" > 0")
    page(f"{of_experiment(runs)}/runs?{TRAINING}&searchFilter={search}", "5 matching runs", sweep_id)
    unfold(browser)
    wait_for_words(browser, *METHODS)
    screenshot(browser, "list")


def test_chart_page_shows_a_chart_for_a_metric(page: OpenPage, browser: Chrome, runs: dict[str, Run]) -> None:
    page(f"{of_experiment(runs)}/runs?{TRAINING}&compareRunsMode=CHART", "5 matching runs", "eval")
    unfold(browser)
    search = "input[placeholder='Search metric charts']"
    do(browser, lambda field: field.send_keys("eval/accuracy"), By.CSS_SELECTOR, search)
    wait_for_words(browser, "topk (eval/accuracy)")
    screenshot(browser, "charts")


def test_page_of_a_run_shows_description_source_and_data_sets(page: OpenPage, runs: dict[str, Run]) -> None:
    words = (
        "sparsefleet run",
        "digits (train)",
        "Federated dynamic sparse training",
        runs["sweep"].info.run_name,
    )
    page(f"{of_experiment(runs)}/runs/{runs['feddst'].info.run_id}?{TRAINING}", *words)


def test_accuracy_is_the_first_chart_of_a_run(page: OpenPage, browser: Chrome, runs: dict[str, Run]) -> None:
    page(f"{of_experiment(runs)}/runs/{runs['feddst'].info.run_id}/model-metrics?{TRAINING}", "eval")
    wait_for(browser, lambda chrome: _first_chart(chrome) == "accuracy", "accuracy as first chart")
    screenshot(browser, "run metrics")


def _first_chart(browser: Chrome) -> str:
    cards = browser.find_elements(By.CSS_SELECTOR, "[data-testid='experiment-view-compare-runs-card']")
    lines = cards[0].text.splitlines() if cards else []
    return lines[0] if lines else ""


def test_comparison_page_shows_the_params_of_four_runs(page: OpenPage, runs: dict[str, Run]) -> None:
    words = ("Comparing 4 Runs from 1 Experiment", *METHODS, "algorithm.name", "sparsity.level")
    page(f"/compare-runs?{_four(runs)}", *words)


def test_metric_page_plots_the_accuracy_of_four_runs_over_steps(
    page: OpenPage, browser: Chrome, runs: dict[str, Run]
) -> None:
    keys = (
        f"metric={quote(json.dumps('eval/accuracy'))}&plot_metric_keys={quote(json.dumps(['eval/accuracy']))}"
    )
    page(f"/metric?{_four(runs)}&{keys}", "Completed Runs")
    do(browser, WebElement.click, By.XPATH, "//label[contains(., 'Step')]")
    title = (By.CSS_SELECTOR, ".js-plotly-plot .xtitle")
    wait_for(browser, lambda chrome: chrome.find_element(*title).text == "Step", "steps below the plot")
    script = "return document.querySelector('.js-plotly-plot').data.map(t => [t.name, Array.from(t.x || [])])"

    def are_drawn(chrome: Chrome) -> bool:
        drawn = chrome.execute_script(script)
        return all(
            [0, 1, 2, 3, 4, 5] in [steps for name, steps in drawn if method in str(name)]
            for method in METHODS
        )

    wait_for(browser, are_drawn, "a line over six steps for each method")
    screenshot(browser, "metric")


def test_artifact_pages_show_the_curves_and_the_report(
    page: OpenPage, browser: Chrome, runs: dict[str, Run]
) -> None:
    for name, file in (("feddst", "curves.png"), ("sweep", "report/pareto.png")):
        path = f"{of_experiment(runs)}/runs/{runs[name].info.run_id}/artifacts/{file}"
        page(path, file.rpartition("/")[2])
        wait_for(browser, shows_an_image, file)
        screenshot(browser, f"artifact {name}")


def shows_an_image(browser: Chrome) -> bool:
    """Whether the page has loaded an image that is wider than 400 pixels."""
    images = browser.find_elements(By.TAG_NAME, "img")
    return any(int(image.get_property("naturalWidth") or 0) > 400 for image in images)


def unfold(browser: Chrome) -> None:
    """Unfold the trials below the sweep's run."""
    do(browser, WebElement.click, By.CSS_SELECTOR, "button[data-component-id*='runnamecellrenderer']")
    wait_for_words(browser, METHODS[0])


def _four(runs: dict[str, Run]) -> str:
    ids = json.dumps([runs[method].info.run_id for method in METHODS], separators=(",", ":"))
    return f"runs={quote(ids)}&experiments={quote(json.dumps([runs['sweep'].info.experiment_id]))}"
