"""The sections of the experiment config, YAML, overrides and error messages. Knows no methods."""
