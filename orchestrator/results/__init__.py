"""Results for notebooks and scripts: data frames, plots, and short texts."""
