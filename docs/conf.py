"""Sphinx's settings: pages in Markdown, and a reference from the docstrings of every package's door."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "platform"))

project = "reid"
copyright = "the authors of reid"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "reid"

myst_heading_anchors = 3
"""As links such as `results.md#the-demo` need them."""

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
