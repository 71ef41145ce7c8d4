"""The page as a browser reads it: whole in itself, every text as it was given, passwords masked."""

import base64
import re
from html.parser import HTMLParser
from io import BytesIO

import pytest
from PIL import Image

from reid.pictures import Illustration, Page, PageSection, PageTable

EVIL = '<script>alert("x")</script> & "\'>'
VOID = {"img", "meta", "br"}


def a_png(colour: str = "red") -> bytes:
    file = BytesIO()
    Image.new("RGB", (4, 3), colour).save(file, "PNG")
    return file.getvalue()


class Read(HTMLParser):
    """What a parser finds; it fails where tags are not closed in their order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data
        elif data.strip():
            self.texts.append(data.strip())


def page(text: str, png: bytes) -> Page:
    table = PageTable(caption=text, header=[text, "mAP"], rows=[[text, "1.5%"], ["b", "–"]])
    folded = PageTable(caption=text, header=(), rows=[["key", text]], folded=True)
    section = PageSection(
        heading=text,
        note=text,
        tables=[table, folded],
        illustrations=[Illustration(title=text, note=text, png=png), Illustration(title="bare", png=png)],
        code=text,
    )
    return Page(title=text, subtitle=text, sections=[section])


@pytest.mark.parametrize(
    "text", ["plain", EVIL, "{{ 7 * 7 }}", "a ≥ é 漢 \u202e", "</code></pre><img src=x onerror=alert(1)>"]
)
def test_every_text_is_shown_as_it_was_given(text: str) -> None:
    read = Read(page(text, a_png()).html())
    assert read.tables == [[[text, "mAP"], [text, "1.5%"], ["b", "–"]], [["key", text]]]
    assert read.texts.count(text.strip()) == 10
    assert "script" not in read.tags
    assert ("img", "alt", text) in read.attributes
    assert read.tags.count("img") == 2


def test_nothing_outside_of_it_is_named_and_no_script_runs() -> None:
    html = page("plain", a_png()).html()
    read = Read(html)
    addresses = {value for _, name, value in read.attributes if name in ("src", "href", "srcset", "data", "action")}
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not {"script", "link", "iframe", "object", "form", "base", "style"} & set(read.tags) - {"style"}
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", html)
    (policy,) = [value for tag, name, value in read.attributes if tag == "meta" and value.startswith("default-src")]
    assert policy.startswith("default-src 'none';")


def test_pictures_come_back_bit_by_bit() -> None:
    pngs = [a_png(colour) for colour in ("red", "blue")]
    shown = [Illustration(title="a", png=png) for png in pngs]
    read = Read(Page(title="", subtitle="", sections=[PageSection(heading="", illustrations=shown)]).html())
    found = [value.partition(",")[2] for tag, name, value in read.attributes if (tag, name) == ("img", "src")]
    assert [base64.b64decode(text) for text in found] == pngs


def test_pictures_whose_letters_look_like_a_secret_stay_whole() -> None:
    """Masking is for texts: `;…token…=` can stand in base64."""
    png = base64.b64decode("token" * 4 + "pwd+key=")
    read = Read(page("plain", png).html())
    (source, _) = [value for tag, name, value in read.attributes if (tag, name) == ("img", "src")]
    assert base64.b64decode(source.partition(",")[2]) == png


def test_passwords_in_addresses_are_masked_wherever_they_stand() -> None:
    html = page("http://user:hunter2@host/path?token=hunter2", a_png()).html()
    assert "hunter2" not in html
    assert "user:***@host" in html


@pytest.mark.parametrize(
    ("column", "is_number"),
    [
        (["1.5%", "–", "12.0 %"], True),
        (["+0.3 ± 1.4 %", ""], True),
        (["25,600"], True),
        (["2.3 s"], True),
        (["finished", "3"], False),
        (["1.2.3-beta"], False),
    ],
)
def test_columns_of_numbers_are_known(column: list[str], is_number: bool) -> None:
    table = PageTable(caption="", header=(), rows=[["name", cell] for cell in column])
    assert table.is_number(1) == is_number
    assert not table.is_number(0)
