"""The MLflow UI: open to this machine without a password, and to others only with one."""

from pathlib import Path

import pytest

from orchestrator.cli.mlflow_ui import serve_ui, server_command
from orchestrator.errors import ConfigError, RequestError


def test_folder_without_a_store_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        serve_ui(tmp_path, 5000)
    assert (caught.value.field, caught.value.value) == ("--storage", tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_every_name_of_this_machine_needs_no_password(tmp_path: Path, host: str) -> None:
    command, environment = server_command(tmp_path / "mlflow.db", host, 5000, {})
    assert command[command.index("--host") + 1] == host
    assert "--app-name" not in command
    assert "MLFLOW_AUTH_CONFIG_PATH" not in environment


def test_remote_access_without_a_password_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        server_command(tmp_path / "mlflow.db", "0.0.0.0", 5000, {})
    assert (caught.value.field, caught.value.value) == ("--host", "0.0.0.0")
    assert "MLFLOW_AUTH_ADMIN_PASSWORD" in caught.value.remedy


def test_remote_access_uses_basic_auth(tmp_path: Path) -> None:
    given = {"MLFLOW_AUTH_ADMIN_PASSWORD": "a long one"}
    command, environment = server_command(tmp_path / "mlflow.db", "0.0.0.0", 5000, given)
    assert command[command.index("--app-name") + 1] == "basic-auth"
    assert "a long one" not in " ".join(command)
    assert environment["MLFLOW_FLASK_SERVER_SECRET_KEY"]
    settings = Path(environment["MLFLOW_AUTH_CONFIG_PATH"]).read_text()
    assert f"sqlite:///{tmp_path / 'mlflow-users.db'}" in settings
    assert "a long one" not in settings
