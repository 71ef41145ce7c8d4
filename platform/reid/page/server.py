"""The page's server: on this machine alone, and of its files only the page itself and pictures by row."""

import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from reid.config import default_storage
from reid.page.finder import Finder
from reid.progress import say_result
from reid.storage import Place, Storage

HOST = "127.0.0.1"
SITE = Path(__file__).with_name("site")
LARGEST = 32 * 2**20
"""Bytes of a picture that is looked up."""
MOST = 200
"""Images that are shown at once."""
Answer = Callable[[Request], Awaitable[Response]]


def serve(table: str | os.PathLike[str], *, images: str | None = None, port: int = 7860) -> None:
    """Serve a page that finds the people of a table who look most like somebody, until it is interrupted.

    A picture that is dropped on the page is described by the model that the table was written with; so can be any
    picture of the table, by a click. The server listens on 127.0.0.1 alone; it serves no files but those of the page,
    and the images of the table by their row.

    Args:
        table: a file that `jobs/extract.py` has written, a local path or a pyarrow.fs URI.
        images: where the table's images lie now, a folder or a store; none = where they lay when it was written.
        port: of the page; 0 = any that is free.

    Raises:
        ValueError: there is no such table, its model or its store is another by now, or the port is taken.
    """
    finder = Finder(Place(table), images, Storage(default_storage()))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except (OSError, OverflowError) as error:
            raise ValueError(f"port {port} cannot be had ({error}): choose another") from error
        say_result(f"page: http://{HOST}:{listener.getsockname()[1]} of {len(finder):,} images; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(application(finder), log_level="warning")).run([listener])


def application(finder: Finder) -> Starlette:
    """The page as an ASGI application.

    `POST /nearest` with a picture's bytes and `GET /nearest/ROW` answer with what is nearest, `GET /images/ROW` with a
    picture, `GET /` with the page.
    """

    async def nearest_to_picture(request: Request) -> Response:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > LARGEST:
                return _refusal(413, f"this picture has more than {LARGEST // 2**20} MiB: give a smaller one")
        return JSONResponse(await run_in_threadpool(finder.nearest_to, bytes(content), _count(request)))

    async def nearest_to_row(request: Request) -> Response:
        row = request.path_params["row"]
        return JSONResponse(await run_in_threadpool(finder.nearest_to_row, row, _count(request)))

    async def picture(request: Request) -> Response:
        png = await run_in_threadpool(finder.picture, request.path_params["row"])
        return Response(png, media_type="image/png")

    return Starlette(
        routes=[
            Route("/nearest", _guarded(nearest_to_picture), methods=["POST"]),
            Route("/nearest/{row:int}", _guarded(nearest_to_row)),
            Route("/images/{row:int}", _guarded(picture)),
            Mount("/", StaticFiles(directory=SITE, html=True)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


def _guarded(answer: Answer) -> Answer:
    """Says what is wrong with a request in words, as the page shows them."""

    async def guarded(request: Request) -> Response:
        try:
            return await answer(request)
        except IndexError as error:
            return _refusal(404, str(error))
        except ValueError as error:
            return _refusal(400, str(error))

    return guarded


def _refusal(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status)


def _count(request: Request) -> int:
    """How many are wanted.

    Raises:
        ValueError: it is no number, or too large.
    """
    text = request.query_params.get("top", "12")
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise ValueError(f"top is {text[:20]}: ask for 1 to {MOST}")
    return int(text)
