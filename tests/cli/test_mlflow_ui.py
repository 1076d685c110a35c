"""The MLflow UI that `sparsefleet ui` runs."""

import configparser
import os
import secrets
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from base64 import b64encode
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import yaml
from sqlalchemy.engine import make_url
from werkzeug.security import check_password_hash, generate_password_hash

from orchestrator.cli.mlflow_ui import (
    has_desktop,
    require_free_port,
    serve_ui,
    server_command,
    set_admin_password,
)
from orchestrator.errors import ConfigError, RequestError, TrackingError
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.experiment import find_or_create_experiment
from orchestrator.tracking.presentation.pages import runs_page
from orchestrator.tracking.uris import sqlite_uri
from tests.support.command import Command
from tests.support.command_process import CommandProcess
from tests.support.mlflow_server import free_port
from tests.support.secret_search import Secrets, readable_by_others


@pytest.mark.parametrize("name", ["plain", "a b", "a%20b", "a?b", "ä"])
def test_server_gets_the_database_of_any_folder(tmp_path: Path, name: str) -> None:
    database = tmp_path / name / "mlflow.db"
    database.parent.mkdir()
    command, environment = server_command(
        database, "0.0.0.0", 5000, {"MLFLOW_AUTH_ADMIN_PASSWORD": "a long one"}
    )
    assert make_url(command[command.index("--backend-store-uri") + 1]).database == str(database)
    assert command[command.index("--artifacts-destination") + 1] == (database.parent / "mlartifacts").as_uri()
    settings = configparser.ConfigParser()
    settings.read(environment["MLFLOW_AUTH_CONFIG_PATH"])
    users = make_url(settings["mlflow"]["database_uri"]).database
    assert users == str(database.with_name("mlflow-users.db"))


class TestRequireFreePort:
    """`require_free_port`."""

    def test_port_in_use_is_rejected(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            for host in ("127.0.0.1", "localhost", "0.0.0.0"):
                with pytest.raises(RequestError) as raised:
                    require_free_port(host, port)
                assert (raised.value.field, raised.value.value) == ("--port", port)
        require_free_port("127.0.0.1", port)

    def test_address_of_another_machine_is_rejected(self) -> None:
        with pytest.raises(RequestError) as raised:
            require_free_port("192.0.2.1", 5000)
        assert raised.value.field == "--port"

    def test_unknown_host_is_rejected(self) -> None:
        with pytest.raises(RequestError) as raised:
            require_free_port("no such host", 5000)
        assert (raised.value.field, raised.value.value) == ("--host", "no such host")


def test_used_port_is_an_error_of_one_line(command: Command, storage: Path) -> None:
    storage.mkdir()
    (storage / "mlflow.db").touch()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = command("ui", "--storage", storage, "--port", port)
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: --port={port}: ")


def test_storage_whose_runs_are_tracked_elsewhere_names_the_place(
    command: Command, storage: Path, finished: Path
) -> None:
    config = yaml.safe_load((finished / "config.yaml").read_text())
    config["tracking"] |= {"uri": "http://host:5000", "enabled": True}
    (finished / "config.yaml").write_text(yaml.safe_dump(config))
    (finished / "tracking.json").write_text("{}")
    result = command("ui", "--storage", storage)
    assert result.code == 2
    assert result.error_line.startswith(f"error: --storage={storage}: ")
    assert "http://host:5000" in result.error_line


def test_damaged_database_is_an_error_of_one_line(command: Command, storage: Path) -> None:
    storage.mkdir()
    (storage / "mlflow.db").write_text("no database")
    result = command("ui", "--storage", storage, "--port", free_port())
    assert (result.code, result.out) == (1, "")
    assert str(storage / "mlflow.db") in result.error_line


@pytest.mark.timeout(600)
def test_ui_prints_the_run_list_and_ends_quietly_at_ctrl_c(storage: Path) -> None:
    """With a password, which it writes into no file and shows on no command line. Other users can read no file."""
    password = f"password-{secrets.token_hex(16)}"
    searched = Secrets(password)
    storage.mkdir(mode=0o755)
    uri, port = sqlite_uri(storage / "mlflow.db"), free_port()
    client = connect(uri)
    experiment_id = find_or_create_experiment(client, uri, "e", None)
    client.create_run(experiment_id)
    command = [sys.executable, "-m", "orchestrator.cli", "ui", "--storage", str(storage), "--port", str(port)]
    ui = subprocess.Popen(
        [*command, "--host", "0.0.0.0"],
        env={**os.environ, "MLFLOW_AUTH_ADMIN_PASSWORD": password},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=storage,
        umask=0o022,
    )
    assert ui.stdout is not None
    with searched.watched():
        words = ui.stdout.readline().split()
        address = urlsplit(words[2])
        assert (address.hostname, address.port) == ("0.0.0.0", port)
        assert address.fragment == runs_page(experiment_id).removeprefix("#")
        for given, status in (("wrong", 401), (password, 200)):
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            page = f"/ajax-api/2.0/mlflow/experiments/get?experiment_id={experiment_id}"
            access = b64encode(f"admin:{given}".encode()).decode()
            connection.request("GET", page, headers={"Authorization": f"Basic {access}"})
            assert connection.getresponse().status == status
            connection.close()
        os.kill(ui.pid, signal.SIGINT)
        out, err = ui.communicate(timeout=60)
    assert (ui.returncode, out, err) == (130, "", "")
    require_free_port("127.0.0.1", port)
    names = {path.name for path in storage.iterdir()}
    assert names == {"mlflow.db", "mlartifacts", "mlflow-ui.log", "mlflow-auth.ini", "mlflow-users.db"}
    assert searched.files(storage) == []
    assert searched.shown == set()
    assert [*readable_by_others(storage)] == []


def test_unknown_experiment_is_rejected(command: Command, storage: Path) -> None:
    storage.mkdir()
    connect(sqlite_uri(storage / "mlflow.db")).create_experiment("known")
    result = command("ui", "--storage", storage, "--port", free_port(), "--experiment", "other")
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith("error: --experiment=other: ")


@pytest.mark.parametrize(
    ("is_terminal", "variables", "expected"),
    [
        (True, {"DISPLAY": ":0"}, True),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, True),
        (True, {}, False),
        (True, {"DISPLAY": ":0", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"}, False),
        (False, {"DISPLAY": ":0"}, False),
    ],
)
def test_browser_opens_only_where_a_person_sees_its_window(
    is_terminal: bool, variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal, raising=False)
    assert has_desktop() is expected


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
    assert "a long one" not in settings


def users_of_a_server(tmp_path: Path, password: str) -> Path:
    """The table of users that MLflow makes at the first start, with one user more."""
    users = tmp_path / "mlflow-users.db"
    with closing(sqlite3.connect(users)) as connection, connection:
        connection.execute(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, username VARCHAR(255) UNIQUE, "
            "password_hash VARCHAR(255), is_admin BOOLEAN)"
        )
        for name in ("admin", "ann"):
            row = (name, generate_password_hash(password), name == "admin")
            connection.execute("INSERT INTO users (username, password_hash, is_admin) VALUES (?, ?, ?)", row)
    return users


def hashes(users: Path) -> dict[str, str]:
    with closing(sqlite3.connect(users)) as connection:
        return dict(connection.execute("SELECT username, password_hash FROM users"))


def test_changed_password_replaces_the_old_one_of_the_admin_alone(tmp_path: Path) -> None:
    users = users_of_a_server(tmp_path, "the old password")
    users.chmod(0o644)
    set_admin_password(users, "the old password")
    before = hashes(users)
    set_admin_password(users, "the new password")
    after = hashes(users)
    assert before["ann"] == after["ann"]
    assert check_password_hash(before["admin"], "the old password")
    assert check_password_hash(after["admin"], "the new password")
    assert not check_password_hash(after["admin"], "the old password")
    assert stat.S_IMODE(users.stat().st_mode) == 0o600


def test_first_start_has_no_users(tmp_path: Path) -> None:
    set_admin_password(tmp_path / "mlflow-users.db", "a long one")
    assert not (tmp_path / "mlflow-users.db").exists()


def test_damaged_database_of_users_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow-users.db").write_text("no database")
    with pytest.raises(TrackingError, match="mlflow-users"):
        set_admin_password(tmp_path / "mlflow-users.db", "a long one")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_ends_the_ui_and_its_server_without_a_traceback(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").touch()
    process = CommandProcess(["ui", "--storage", tmp_path, "--port", free_port()])
    process.wait_for("MLflow UI: ")
    children = psutil.Process(process.process.pid).children()
    os.kill(process.process.pid, number)
    output = process.rest(timeout_s=120)
    assert process.process.returncode == code, output
    assert "Traceback" not in output
    assert not [child for child in children if child.is_running() and child.status() != "zombie"]
