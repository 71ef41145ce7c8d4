"""What is raised where a user's settings or data are not as they should be."""


class ConfigError(ValueError):
    """One or more settings are wrong; the message names each by its dotted path, with the remedy."""


class DataError(ValueError):
    """A dataset on disk is not as it should be; the message names the place and the remedy."""
