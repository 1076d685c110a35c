"""The sections of the experiment config, YAML files, overrides and error messages. Imports no method."""
