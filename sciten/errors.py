"""The errors that a user can cause and mend; every message says what was expected, what came, and what to do."""


class SciTenError(Exception):
    """Base of every error that sciten raises on purpose; the command line prints it as one sentence."""


class DataError(SciTenError, ValueError):
    """A dataset, structure or label is unusable; the message names the file and the frame or key."""


class ConfigError(SciTenError, ValueError):
    """A configuration or an argument is unusable; the message names the key and the nearest known one."""


class ModelError(SciTenError, ValueError):
    """A model or checkpoint cannot be read, or was given something it does not know (an element, say)."""


class MissingExtraError(SciTenError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class StorageError(SciTenError, OSError):
    """A file could not be written (no space left, no permission); nothing half-written remains."""


class DivergenceError(SciTenError, RuntimeError):
    """A training or a simulation left the range where its numbers mean something; what was stored is kept."""
