"""What is answered to the page, and to nobody else: itself, the desk, files that come and go."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from importlib import resources
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blurvid.app.desk import Desk
from blurvid.app.tasks import KINDS, PLAYER, Asked, Results, Task, clean
from blurvid.errors import BlurvidError, DeviceError, InputError, OptionError
from blurvid.media import START, starts_as
from blurvid.media.pages import look

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; frame-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not say otherwise: nothing is loaded from elsewhere, shown inside of
another page, remembered or guessed."""


class Guard:
    """Refuse whatever does not come from the page itself.

    The token is the first part of every path, so that all addresses relative to the page have it.
    The name of the host is looked at, since a foreign page may let its own name lead to this
    machine (DNS rebinding).

    Args:
        app: what answers the rest.
        token: known to the page only.
        hosts: names and ports under which this server is reached.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: tuple[str, ...]) -> None:
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http" or not self._may(scope):
            refusal = PlainTextResponse("This address is not for you.\n", 403, HEADERS)
            await refusal(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        scope = {**scope, "root_path": f"/{self.token}"}
        await self.app(scope, receive, sending)

    def _may(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        first, slash, _ = scope["path"].removeprefix("/").partition("/")
        known = secrets.compare_digest(first.encode(), self.token.encode())
        origin = headers.get("origin")
        ours = origin is None or origin in {f"http://{host}" for host in self.hosts}
        return bool(known and slash and ours and headers.get("host") in self.hosts)


MOST_BYTES = 256 << 20
"""Largest file that is taken."""
TICK = 0.25
"""Time between two looks at the desk [s]."""
_BEAT = 40
"""Ticks after which a page hears something even if nothing has happened."""
_STATUS = {OptionError: 400, InputError: 415, DeviceError: 507}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_SANDBOX = "sandbox allow-scripts allow-downloads; frame-ancestors 'self'"
"""A player is a page of its own: it gets at nothing of the app."""


class Windows:
    """How many pages are open.

    Args:
        grace: how long none may be [s], as while it is loaded again.
        on_close: called once the last one is closed for good.
    """

    def __init__(self, grace: float, on_close: Callable[[], None]) -> None:
        self.grace, self.on_close = grace, on_close
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        asyncio.get_running_loop().call_later(self.grace, self._look)

    def _look(self) -> None:
        if self.count == 0:
            self.on_close()


class Pages:
    """The answers.

    Args:
        desk: where the work is done.
        windows: told which pages are open.
    """

    def __init__(self, desk: Desk, windows: Windows) -> None:
        self.desk, self.windows = desk, windows
        self._reading = asyncio.Lock()
        self.app = Starlette(
            routes=[
                Route("/", self.part),
                Route("/look.css", self.look),
                Route("/events", self.events),
                Route("/photos", self.bring, methods=["POST"]),
                Route("/photos/{number:int}", self.preview),
                Route("/jobs", self.add, methods=["POST"]),
                Route("/jobs/{number:int}", self.remove, methods=["DELETE"]),
                Route("/jobs/{number:int}/player", self.player),
                Route("/jobs/{number:int}/{kind}", self.file),
                Route("/{name}", self.part),
            ],
            exception_handlers={BlurvidError: _told, HTTPException: _told},
        )

    async def part(self, request: Request) -> Response:
        """One of the files of the page."""
        name = request.path_params.get("name", "index.html")
        file = resources.files(__package__).joinpath("page", name)
        kind = _TYPES.get(Path(name).suffix)
        if kind is None or not file.is_file():
            raise HTTPException(404, "There is no such page.")
        return Response(file.read_bytes(), media_type=kind)

    async def look(self, request: Request) -> Response:
        """The colours and controls that the page has in common with the player."""
        return Response(look(), media_type="text/css")

    async def events(self, request: Request) -> Response:
        """All work on the desk, again whenever it has changed; for as long as the page is open."""

        async def told() -> AsyncIterator[str]:
            with self.windows:
                said, silent = "", 0
                yield "retry: 500\n\n"
                while not await request.is_disconnected():
                    text = json.dumps(self.desk.record())
                    if text != said:
                        said, silent = text, 0
                        yield f"data: {text}\n\n"
                    elif (silent := silent + 1) % _BEAT == 0:
                        yield ": still here\n\n"
                    await asyncio.sleep(TICK)

        return StreamingResponse(told(), media_type="text/event-stream")

    async def bring(self, request: Request) -> Response:
        """Take a photo, and let it be worked on."""
        values = dict(request.query_params)
        name, asked = clean(values.pop("name", "")), Asked.of(values)
        self.desk.check_room()
        number = self.desk.number()
        path = self.desk.folder / f"{number}{Path(name).suffix}"
        try:
            await _save(request, path, name)
            async with self._reading:  # large photos take memory
                picture = await run_in_threadpool(self.desk.bring, number, name, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        task = self.desk.add(picture, asked)
        return JSONResponse({"id": task.number}, 201)

    async def preview(self, request: Request) -> Response:
        """What a photo looks like."""
        picture = self.desk.pictures.get(request.path_params["number"])
        if picture is None:
            raise HTTPException(404, "There is no such photo.")
        return FileResponse(picture.preview)

    async def add(self, request: Request) -> Response:
        """Let a photo be worked on once more, or a part of it."""
        try:
            values = await request.json()
            picture = self.desk.pictures[values["photo"]]
        except (ValueError, KeyError, TypeError):
            raise HTTPException(404, "There is no such photo.") from None
        return JSONResponse({"id": self.desk.add(picture, Asked.of(values)).number}, 201)

    async def remove(self, request: Request) -> Response:
        """Stop work, or forget it."""
        task = self._job(request)
        await run_in_threadpool(self.desk.remove, task.number)
        return Response(status_code=204)

    async def player(self, request: Request) -> Response:
        """Show frames."""
        path = await run_in_threadpool(self._results(request).file, PLAYER)
        return FileResponse(
            path, media_type="text/html", headers={"Content-Security-Policy": _SANDBOX}
        )

    async def file(self, request: Request) -> Response:
        """Give frames as a file."""
        results, kind = self._results(request), request.path_params["kind"]
        if kind not in KINDS:
            raise HTTPException(404, "There is no such kind of file.")
        path = await run_in_threadpool(results.file, kind)
        return FileResponse(path, filename=path.name)

    def _job(self, request: Request) -> Task:
        task = self.desk.tasks.get(request.path_params["number"])
        if task is None:
            raise HTTPException(404, "There is no such work.")
        return task

    def _results(self, request: Request) -> Results:
        results = self._job(request).results
        if results is None:
            raise HTTPException(409, "It is not done yet.")
        return results


async def _save(request: Request, path: Path, name: str) -> None:
    """Write what is sent to a file.

    Raises:
        HTTPException: it is too large.
        InputError: it is a video, or nothing.
    """
    start, size = b"", 0
    with path.open("xb") as file:
        async for piece in request.stream():
            size += len(piece)
            if size > MOST_BYTES:
                raise HTTPException(413, f"{name}: more than {MOST_BYTES >> 20} MB")
            start = (start + piece)[:START] if len(start) < START else start
            file.write(piece)
    if not size:
        raise InputError(f"{name}: is empty")
    if starts_as(start) == "video":
        raise InputError(f"{name}: is a video; use blurvid extract for it")


async def _told(request: Request, error: Exception) -> Response:
    """An error as the page shows it."""
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"error": str(error)}, status)
