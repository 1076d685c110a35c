"""The environment variables of a job, and secrets among them."""

from pathlib import Path

import pytest

from orchestrator.cluster.variables import (
    FILE_VARIABLE,
    SentVariables,
    selected_variables,
    values_of,
    variable_of_file,
    variables_in_file,
)
from orchestrator.errors import RequestError

VALUES = {"A": "s3cr3t", "B": "", "C": 'two "words"\nand ä'}


def _file(folder: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    """Write a file with variables, and return the environment of a job that gets it."""
    path = folder / "secrets.env"
    path.write_text(text)
    path.chmod(mode)
    return {FILE_VARIABLE: str(path)}


def test_selected_variables_have_the_values_of_the_shell() -> None:
    assert selected_variables(["A", "B"], {"A": "1", "B": "", "C": "3"}) == {"A": "1", "B": ""}


@pytest.mark.parametrize(("name", "value"), [("A=secret", "A=***"), ("NONE", "NONE")])
def test_value_on_the_command_line_and_unset_variable_are_rejected(name: str, value: str) -> None:
    with pytest.raises(RequestError) as raised:
        selected_variables([name], {})
    assert (raised.value.field, raised.value.value) == ("--env", value)


def test_content_has_the_values() -> None:
    assert values_of(SentVariables(VALUES).content()) == VALUES


def test_key_and_text_show_no_value() -> None:
    """Ray logs the first 15 bytes of a content that it cannot store."""
    first, second = SentVariables(VALUES), SentVariables(VALUES)
    assert first.key != second.key
    assert "s3cr3t" not in repr(first) + first.key + first.path
    assert first.path.endswith(first.name)
    assert b"A" not in first.content()[:15]


class TestFile:
    """`variable_of_file` and `variables_in_file`."""

    def test_job_gets_the_path_and_not_the_content(self, tmp_path: Path) -> None:
        path = str(tmp_path / "secrets.env")
        assert variable_of_file(path) == {FILE_VARIABLE: path}
        assert variable_of_file("~/secrets.env") == {FILE_VARIABLE: "~/secrets.env"}
        assert variable_of_file(None) == {}
        assert variables_in_file({}) == {}

    def test_relative_path_is_rejected(self) -> None:
        with pytest.raises(RequestError) as raised:
            variable_of_file("secrets.env")
        assert (raised.value.field, raised.value.value) == ("--env-file", "secrets.env")

    def test_lines_are_read_as_a_shell_reads_them(self, tmp_path: Path) -> None:
        text = "# a comment\n\nA=1\nexport B='two words'\nC=\"x=y # z\"\n  D=\n"
        expected = {"A": "1", "B": "two words", "C": "x=y # z", "D": ""}
        assert variables_in_file(_file(tmp_path, text)) == expected

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
    def test_file_that_others_can_read_is_rejected(self, tmp_path: Path, mode: int) -> None:
        environment = _file(tmp_path, "A=1\n", mode)
        with pytest.raises(RequestError) as raised:
            variables_in_file(environment)
        assert "chmod 600" in raised.value.remedy

    @pytest.mark.parametrize("text", ["secret\n", "A=1\n1A=secret\n", "A B=secret\n"])
    def test_other_line_is_rejected_and_not_shown(self, tmp_path: Path, text: str) -> None:
        environment = _file(tmp_path, text)
        with pytest.raises(RequestError) as raised:
            variables_in_file(environment)
        assert raised.value.field == "--env-file"
        assert "secret" not in raised.value.problem

    def test_missing_file_is_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError) as raised:
            variables_in_file({FILE_VARIABLE: str(tmp_path / "none")})
        assert (raised.value.field, raised.value.value) == ("--env-file", tmp_path / "none")
