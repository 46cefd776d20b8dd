"""Errors that a user can cause. The command line prints their one sentence and exits with status 2."""


class UserError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do."""


class DatasetError(UserError):
    """A dataset that cannot be found, fetched, read or trusted."""


class ConfigError(UserError):
    """A configuration value that makes no sense."""
