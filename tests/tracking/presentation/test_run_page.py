"""The description of an MLflow run."""

from orchestrator.tracking.presentation.run_page import Description, digest, markdown

ABOUT = Description(
    note="Mine.", title="**feddst**: a method", settings={"data": "a|b"}, command="sparsefleet run seed=1"
)


def test_description_has_note_setting_result_command_and_parent() -> None:
    text = markdown(
        ABOUT, {"accuracy": 0.9, "num_rounds": 3, "run_id": "r"}, "FINISHED", ("7", "abc", "my sweep")
    )
    assert text == (
        "Mine.\n\n**feddst**: a method\n\n"
        "Part of [my sweep](#/experiments/7/runs/abc?workflowType=machine_learning).\n\n"
        "| setting | value |\n| --- | --- |\n| data | a\\|b |\n\n"
        "### Result\n\n| result | after 3 rounds |\n| --- | --- |\n| accuracy of the global model | 90.00% |\n\n"
        "### Command\n\n```sh\nsparsefleet run seed=1\n```"
    )


def test_description_of_a_run_in_progress_and_of_a_failed_run() -> None:
    assert "in progress" in markdown(ABOUT, None, "RUNNING", None)
    assert "### Result (failed)\n\nNo result." in markdown(ABOUT, {}, "FAILED", None)


def test_long_description_fits_in_a_tag() -> None:
    long = Description(settings={f"key {i}": "x" * 100 for i in range(200)})
    assert len(markdown(long, None, "RUNNING", None)) < 8000
    assert digest("a") != digest("b")
