"""`doctor`: a row for each check, and a failed check does not hide the others."""

from pathlib import Path

import pytest

from orchestrator.cli.views.checkup import checkup

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("own_ray_folder")]


def test_file_in_place_of_the_storage_folder_fails_this_check_only(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    table, healthy = checkup(tmp_path / "runs")
    names, results, found = (
        [record[name] for record in table.records] for name in ("check", "result", "found")
    )
    assert names == [
        *("Python", "torch", "torchvision", "ray", "mlflow"),
        *("cores", "memory", "GPU", "storage", "Ray starts", "Ray's token", "Ray's files"),
    ]
    passed = dict(zip(names, [result == "ok" for result in results], strict=True))
    assert not healthy
    assert [name for name in names if not passed[name]] == ["storage"]
    assert "FileExistsError" in found[names.index("storage")]
    assert " CPU, " in found[names.index("Ray starts")]


def test_healthy_machine_passes_and_gets_its_storage_folder(tmp_path: Path) -> None:
    table, healthy = checkup(tmp_path / "new" / "runs")
    assert healthy, table.records
    assert [*(tmp_path / "new" / "runs").iterdir()] == []
