"""The whole experiment config, its checks, and everything that is prepared from it."""
