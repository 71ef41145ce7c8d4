"""A table of descriptors as a page in the browser."""

from reid.page.server import serve

__all__ = ["serve"]
