"""What `sparsefleet run --dry-run` prints."""

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.views.tables import PlainTable
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.forecast.forecast import Forecast
from orchestrator.formatting import counted, format_bytes, format_flops, format_seconds


def forecast_table(found: Forecast, config: ExperimentConfig) -> RenderableType:
    """Return a table of the costs with their certainty, and lines that say why a number is not exact."""
    certain = found.certainties
    table = PlainTable("cost", "total", "certainty")
    rounds = f"{counted(found.num_rounds, 'round')}, {counted(found.num_tasks, 'task')}"
    table.add("training", rounds, certain.bytes)
    table.add("upload", format_bytes(found.upload_bytes), certain.bytes)
    table.add("download", format_bytes(found.download_bytes), certain.bytes)
    table.add("training FLOPs", format_flops(found.train_flops), certain.flops)
    table.add("emulated time", format_seconds(found.emulated_s), certain.emulated_s)
    table.add("wall time", format_seconds(found.wall_s), "estimate")
    table.add("memory of the clients", format_bytes(found.actor_bytes), "estimate")
    place = "in the command's process" if found.placement is None else f"on {found.placement}"
    lines = [
        f"{config.algorithm.name} on {config.data.name}: a model of {found.num_parameters:,} values. "
        f"The clients train {place}.",
        "Wall time: the measured speed of one task, without the start of Ray and without personal evaluations. "
        "Failed tasks are not counted.",
        *(f"Not exact: {reason}." for reason in certain.reasons),
    ]
    if config.runtime.address is not None:
        lines.append("Actors and wall time are those of this machine, not of runtime.address.")
    return Group(Text(lines[0]), Text(), table, Text(), *(Text(line) for line in lines[1:]))
