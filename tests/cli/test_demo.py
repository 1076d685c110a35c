"""The demo reaches the accuracy and the upload that the documentation states."""

from pathlib import Path

import pytest

from orchestrator.cli.demo import run_demo
from orchestrator.display.run_progress import Progress


@pytest.mark.ray
def test_feddst_is_near_fedavg_with_less_than_a_third_of_its_upload(local_ray: None, tmp_path: Path) -> None:
    feddst, fedavg = run_demo(tmp_path, Progress(quiet=True))
    assert feddst.accuracy is not None
    assert fedavg.accuracy is not None
    assert fedavg.accuracy >= 0.88
    assert feddst.accuracy >= fedavg.accuracy - 0.03
    assert feddst.upload_bytes_total < fedavg.upload_bytes_total / 3
