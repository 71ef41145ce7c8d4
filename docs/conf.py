"""Sphinx's settings: pages in Markdown, and a reference from the docstrings of every package's door."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1] / "platform"))
import reid.experiments  # noqa: F401 - all that is documented: autodoc changes pydantic so that later imports fail

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
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

nitpick_ignore_regex = [
    # Libraries: to link to their pages, the build would need the network.
    (
        "py:.*",
        r"(annotated_types|collections|concurrent|io|matplotlib|numpy|optuna|os|pathlib|PIL|pyarrow|pydantic|pydantic_core)\..*",
    ),
    ("py:.*", r"(ray|rich|torch|types|typing)\..*"),
    # What pydantic notes of a field beside its type.
    ("py:class", r"_PydanticGeneralMetadata|AllowInfNan|FieldInfo|Ge|Gt|Le|Lt|MinLen|NoneType|PydanticUndefined|\d.*"),
]
nitpick_ignore = [
    ("py:class", f"reid.{name}")
    for name in (
        "cluster.background.AnyNamed",
        "cluster.tasks.Result",
        "cluster.tasks.Task",
        "config.atlas.Chart",
        "config.manifests.SplitCounts",
        "config.manifests.TextureFiles",
        "config.section.Annotated",
        "config.training._whole_number_or_range",
        "data.dataset.Computed",
        "data.parallel.Result",
        "data.parallel.Task",
        "data.readers.records.CropRecords",
        "data.store.StoredSplit",
        "data.store.StoreManifest",
        "experiments.ablation_table.AblationTable",
        "experiments.export.Published",
        "models.alignment.Aligned",
        "progress.report.Part",
        "search.view.TrialRow",
    )
]
"""Types in signatures that no door offers."""


def setup(app: Sphinx) -> None:
    app.connect("source-read", _bring_files_outside)
    app.connect("autodoc-process-signature", _without_factories)
    app.connect("autodoc-process-docstring", _put_colon_back, priority=600)  # after napoleon


def _bring_files_outside(app: Sphinx, name: str, source: list[str]) -> None:
    """Markdown files that lie outside this folder are no pages of the site: they come along as files."""
    source[0] = re.sub(r"\[`?([^]`]+)`?\]\((\.\./[\w/]+\.md)\)", r"{download}`\1 <\2>`", source[0])


def _without_factories(
    app: Sphinx, what: str, name: str, value: object, options: object, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Defaults of dataclasses that are made anew are shown as what Python can parse."""
    return arguments and arguments.replace("<factory>", "..."), returned


def _put_colon_back(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in an attribute's docstring for its type; ours stand in the code."""
    found = [number for number, line in enumerate(lines) if line.startswith(":type: ")]
    if what in ("attribute", "data", "property") and found:
        lines[0] = f"{lines[found[0]].removeprefix(':type: ')}: {lines[0]}"
        del lines[found[0] - 1 : found[0] + 1]
