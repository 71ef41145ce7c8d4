"""The page over HTTP, as a browser uses it."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from reid.config import DataError
from reid.data import DescriptorTable, open_dataset
from reid.jobs import extract
from reid.page import serve
from reid.page.server import LARGEST

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, stores: dict[str, Path]) -> Path:
    """A folder of images, among other files."""
    folder = tmp_path_factory.mktemp("people")
    for index, image_HW3 in enumerate(open_dataset(stores["reid"]).splits["gallery"].gather(range(12)).numpy()):
        Image.fromarray(image_HW3).resize((40, 90)).save(folder / f"{index:02}.png")
    (folder / "secret.txt").write_text("not for everybody")
    return folder


@pytest.fixture(scope="module")
def checkpoint(save_untrained: Callable[..., Path]) -> Path:
    return save_untrained("baseline")


@pytest.fixture(scope="module")
def table(people: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return described(people, checkpoint, tmp_path_factory.mktemp("table") / "people.parquet")


def described(images: Path, checkpoint: Path, table: Path) -> Path:
    places = ["--checkpoint", str(checkpoint), "--images", str(images), "--output", str(table)]
    extract.main([*places, "--set", "scaling.num_workers=0"], standalone_mode=False)
    return table


@dataclass
class Page:
    process: subprocess.Popen[str]
    port: int

    def ask(self, path: str, body: bytes | None = None, host: str | None = None) -> tuple[int, str, bytes]:
        """Status, type and content; the path goes over the wire as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, {} if host is None else {"Host": host})
            response = connection.getresponse()
            return response.status, response.headers["Content-Type"], response.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def page(table: Path) -> Iterator[Page]:
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from reid.page import serve; serve(sys.argv[1], port=0)", str(table)],
        cwd=ROOT / "platform",
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.fullmatch(r"page: http://127\.0\.0\.1:(\d+) of 12 images; Ctrl-C ends it\n", said)
        assert found is not None, said
        yield Page(process, int(found[1]))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout.read() == ""


def test_a_picture_finds_itself_first(page: Page, people: Path) -> None:
    for index in (3, 7):
        status, _, answer = page.ask("/nearest?top=5", (people / f"{index:02}.png").read_bytes())
        matches = json.loads(answer)
        assert (status, len(matches)) == (200, 5)
        assert (matches[0]["row"], matches[0]["name"], matches[0]["pid"]) == (index, f"{index:02}.png", None)
        assert matches[0]["distance"] < 1e-5
        assert [match["distance"] for match in matches] == sorted(match["distance"] for match in matches)


def test_a_picture_of_the_table_is_looked_up_by_its_row(page: Page, table: Path) -> None:
    status, _, answer = page.ask("/nearest/4?top=100")
    matches = json.loads(answer)
    (descriptors_ND,) = (block.numpy().astype(np.float64) for block in DescriptorTable(table).blocks())
    distances_N = np.linalg.norm(descriptors_ND - descriptors_ND[4], axis=1)
    expected = [row for row in distances_N.argsort(kind="stable").tolist() if row != 4]
    assert (status, [match["row"] for match in matches]) == (200, expected)


def test_pictures_are_served_by_row_at_the_models_size(page: Page, people: Path) -> None:
    status, kind, content = page.ask("/images/11")
    assert (status, kind) == (200, "image/png")
    served = Image.open(BytesIO(content))
    expected = Image.open(people / "11.png").resize((32, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(np.asarray(served), np.asarray(expected))


def test_the_page_itself_is_served_whole_and_loads_nothing_from_elsewhere(page: Page) -> None:
    status, kind, content = page.ask("/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert b"default-src 'none'" in content
    for name in re.findall(rb'(?:href|src)="([a-z.]+)"', content):
        assert page.ask(f"/{name.decode()}")[0] == 200
    assert b"//" not in content.replace(b"<!doctype", b"")


@pytest.mark.parametrize(
    "path",
    [
        *("/secret.txt", "/images/secret.txt", "/images/../secret.txt", "/images/%2e%2e/secret.txt", "/images/00.png"),
        *("/../server.py", "/%2e%2e/server.py", "/..%2fserver.py", "/images/12", "/images/-1", "/nearest/12"),
        *("//etc/passwd", "/%2fetc/passwd", "/../../../../../../../../etc/passwd"),
    ],
)
def test_no_other_file_is_served(page: Page, people: Path, path: str) -> None:
    for asked in (path, path.replace("secret.txt", urllib.parse.quote(str(people / "secret.txt"), safe=""))):
        status, _, content = page.ask(asked)
        assert status == 404
        assert b"not for everybody" not in content
        assert b"root:" not in content


def test_what_is_asked_wrongly(page: Page) -> None:
    for path, body, status, reason in (
        ("/nearest", b"<html>", 400, "this is no image that can be read: give a JPEG or a PNG file"),
        ("/nearest", b"", 400, "this is no image"),
        ("/nearest", bytes(LARGEST + 1), 413, "this picture has more than 32 MiB: give a smaller one"),
        ("/nearest/0?top=0", None, 400, "top is 0: ask for 1 to 200"),
        ("/nearest/0?top=many", None, 400, "top is many: ask for 1 to 200"),
        ("/nearest/12", None, 404, "has no row 12"),
    ):
        found, _, answer = page.ask(path, body)
        assert found == status
        assert reason in json.loads(answer)["error"]


def test_only_this_machine_is_served_and_under_its_own_name(page: Page) -> None:
    listening = {
        connection.laddr.ip
        for connection in psutil.Process(page.process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    assert page.ask("/", host=f"localhost:{page.port}")[0] == 200
    assert page.ask("/", host="evil.example")[0] == 400, "a name that somebody else lets point here"


def test_what_cannot_be_served(people: Path, table: Path, save_untrained: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.parquet does not exist"):
        serve(tmp_path / "nowhere.parquet")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match=r"port \d+ cannot be had .*: choose another"):
            serve(table, port=taken.getsockname()[1])
    checkpoint, other = save_untrained("baseline", seed=3), save_untrained("baseline", seed=4)
    own = described(people, checkpoint, tmp_path / "own.parquet")
    for file in other.iterdir():
        os.replace(file, checkpoint / file.name)
    with pytest.raises(DataError, match=r"holds another model than the one that .*: write it anew"):
        serve(own)
