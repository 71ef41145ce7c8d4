"""A page of HTML that needs nothing beside it: pictures and styles are in it, and no script."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from reid.config import without_passwords

TEMPLATE = "page.html.jinja"
NUMBER = re.compile(r"(|–|[-+]?[\d.,]+( ± [\d.,]+)?( ?%| s| min| h)?)")


@dataclass(frozen=True, kw_only=True)
class PageTable:
    """A table; the first column names the rows."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False
    """Whether it opens at a click."""

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers alone, which are aligned on the right."""
        return column > 0 and all(NUMBER.fullmatch(row[column]) for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class Illustration:
    """A picture and what to look at in it."""

    title: str
    note: str = ""
    png: bytes

    @property
    def source(self) -> Markup:
        return Markup(f"data:image/png;base64,{base64.b64encode(self.png).decode()}")  # noqa: S704 - letters of base64


@dataclass(frozen=True, kw_only=True)
class PageSection:
    """A part of the page; its tables come first."""

    heading: str
    note: str = ""
    tables: Sequence[PageTable] = ()
    illustrations: Sequence[Illustration] = ()
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Page:
    """All texts are shown as they are, whatever characters they hold, but for passwords in addresses."""

    title: str
    subtitle: str
    sections: Sequence[PageSection]

    def html(self) -> str:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_masked,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return environment.get_template(TEMPLATE).render(page=self)


def _masked(value: object) -> object:
    """Of what is put into the page, texts without passwords; pictures as they are."""
    return without_passwords(value) if isinstance(value, str) and not isinstance(value, Markup) else value
