"""The complete experiment config, its checks, and the experiment that is prepared from it."""
