"""The result of a comparison as an object: its rows as a data frame, and its mean curves as a plot."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, final

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.options import COST_COLUMNS, METRIC_TITLES, METRICS, Cost
from orchestrator.analysis.report.export import table_rows
from orchestrator.formatting import counted
from orchestrator.results.plots import ROUND, plot_rounds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@final
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ComparisonResult(Comparison):
    """A comparison of configurations that converts to a data frame. A notebook shows the object as a table."""

    @classmethod
    def from_comparison(cls, comparison: Comparison) -> "ComparisonResult":
        """Return the comparison as a result."""
        return cls(**{field.name: getattr(comparison, field.name) for field in fields(Comparison)})

    def to_dataframe(self) -> "pd.DataFrame":
        """Return one row per configuration (index `configuration`), best first, with the columns of the CSV report.

        `accuracy_mean` is the mean over the seeds, `accuracy_half_width` half of the 95 % Student-t interval, and
        `accuracy_num_reached` the number of seeds with a value; the other metrics and costs have the same columns.
        """
        import pandas as pd

        return pd.DataFrame(table_rows(self)).set_index("configuration")

    def plot(self, x: Cost | None = None, axes: "Axes | None" = None) -> "Axes":
        """Draw the mean curve of the metric of each configuration, over the rounds (None) or over a cost.

        `axes` None creates new axes with matplotlib's pyplot. Raises RequestError for an unknown cost.
        """
        column = ROUND if x is None else COST_COLUMNS.get(x, str(x))
        curves = {row.configuration.label: self._curve(index) for index, row in enumerate(self.rows)}
        return plot_rounds(curves, METRIC_TITLES[self.metric], column, axes)

    def _curve(self, index: int) -> "pd.DataFrame":
        import pandas as pd

        points = self.rows[index].curve
        columns = [
            {
                METRIC_TITLES[self.metric]: point.mean,
                **{COST_COLUMNS[cost]: value for cost, value in point.costs.items()},
            }
            for point in points
        ]
        return pd.DataFrame(columns, index=pd.Index([point.round_idx for point in points], name=ROUND))

    def __repr__(self) -> str:
        """One line per configuration with its means."""
        shown = self._table().to_string(float_format="{:.4g}".format)
        return f"{self._title()}\n{shown}"

    def _repr_html_(self) -> str:
        """The table that a notebook shows."""
        return f"<p>{self._title()}</p>{self._table().to_html(float_format='{:.4g}'.format)}"

    def _table(self) -> "pd.DataFrame":
        """The means that have a value, and the number of seeds."""
        names = [*METRICS, *(f"{column}_total" for column in COST_COLUMNS.values())]
        columns = ["num_seeds", *(f"{name}_mean" for name in names)]
        return self.to_dataframe()[columns].dropna(axis="columns", how="all")

    def _title(self) -> str:
        return f"{counted(len(self.rows), 'configuration')}, by {METRIC_TITLES[self.order]}"
