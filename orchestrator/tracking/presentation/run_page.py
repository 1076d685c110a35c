"""What the page of an MLflow run shows: the record of its data sets, and its description in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from orchestrator.formatting import format_bytes, format_flops, format_seconds
from orchestrator.tracking.presentation.pages import run_page

#: longest description; MLflow accepts 8,000 characters in a tag
_MAX_LENGTH = 7500
#: field of a summary -> (words, function that formats the value)
_RESULTS = {
    "accuracy": ("accuracy of the global model", "{:.2%}".format),
    "personal_accuracy": ("mean accuracy of the clients' own models", "{:.2%}".format),
    "unseen_accuracy": ("mean accuracy of the global model on unseen clients", "{:.2%}".format),
    "unseen_personal_accuracy": ("mean accuracy of the models of unseen clients", "{:.2%}".format),
    "best_round": ("best round by validation data", str),
    "best_accuracy": ("its accuracy of the global model", "{:.2%}".format),
    "best_personal_accuracy": ("its mean accuracy of the clients' own models", "{:.2%}".format),
    "stop_reason": ("stopped early", str),
    "upload_bytes_total": ("uploaded", format_bytes),
    "download_bytes_total": ("downloaded", format_bytes),
    "train_flops_total": ("training", format_flops),
    "emulated_s_total": ("emulated time", format_seconds),
    "wall_s_total": ("time on this machine", format_seconds),
    "num_trials": ("trials", str),
    "num_finished": ("finished trials", str),
    "num_failed": ("failed trials", str),
    "best": ("best configuration", str),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedDataset:
    """A part of a data set, as MLflow's page shows it.

    - `name`: unique with `digest`; `context`: what the run does with it, such as `training`.
    - `source`: a folder or an address (`is_local`), else the function that makes the data.
    - `shape` and `dtype` are those of the inputs, [N, ...]; labels are int64[N].
    """

    name: str
    digest: str
    context: str
    source: str
    is_local: bool
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The parts of a description.

    - `note`: the user's own words, Markdown; may be empty.
    - `title`: one line of Markdown: what ran.
    - `settings`: rows of a table.
    - `command`: the command that starts this run again; "" without one.
    """

    note: str = ""
    title: str = ""
    settings: Mapping[str, str]
    command: str = ""


def markdown(
    description: Description,
    summary: Mapping[str, object] | None,
    status: str,
    parent: tuple[str, str, str] | None,
) -> str:
    """Return the description of a run. `summary` is None while the run is in progress.

    `parent` has the experiment id, the MLflow run id and the name of the parent run.
    """
    parts = [part for part in (description.note, description.title) if part]
    if parent is not None:
        experiment_id, run_id, name = parent
        parts.append(f"Part of [{name}]({run_page(experiment_id, run_id)}).")
    parts.append(_table(("setting", "value"), list(description.settings.items())))
    parts.append(_result(summary, status))
    if description.command:
        parts.append(f"### Command\n\n```sh\n{description.command}\n```")
    text = "\n\n".join(parts)
    if len(text) > _MAX_LENGTH:
        text = text[:_MAX_LENGTH] + "\n\n... (`config.yaml` in the artifacts has the whole configuration)"
    return text


def digest(text: str) -> str:
    """Return a short digest, by which a description that a user has edited is recognised."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _result(summary: Mapping[str, object] | None, status: str) -> str:
    if summary is None:
        return "### Result\n\nThe run is in progress."
    rows = [
        (words, form(summary[field]))  # type: ignore[operator]
        for field, (words, form) in _RESULTS.items()
        if summary.get(field) is not None
    ]
    head = "### Result" + ("" if status == "FINISHED" else f" ({status.lower()})")
    if not rows:
        return f"{head}\n\nNo result."
    rounds = summary.get("num_rounds")
    return f"{head}\n\n{_table(('result', 'value' if rounds is None else f'after {rounds} rounds'), rows)}"


def _table(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *((name, value.replace("|", "\\|")) for name, value in rows)]
    return "\n".join(f"| {name} | {value} |" for name, value in lines)
