"""Who may ask: pages of this very address, and nobody who does not know its token."""

from __future__ import annotations

import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
