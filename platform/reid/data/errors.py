"""The one error of this package."""


class DataError(ValueError):
    """A dataset on disk is not as it should be; the message names the place and the remedy."""
