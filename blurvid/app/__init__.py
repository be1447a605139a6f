"""A page on this machine for people who do not type commands: photos in, frames out."""

from __future__ import annotations

import secrets
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from blurvid.config import RunOptions
from blurvid.errors import OptionError

GRACE = 5.0
"""How long no window may be open before all ends [s]; enough to load the page again."""


def serve(run: RunOptions, on_ready: Callable[[str], None]) -> None:
    """Serve the page until its last window is closed, at an address of this machine alone.

    The port is one that is free, and the address holds a token without which nothing is answered.
    All files lie in a temporary folder, which is deleted at the end.

    Args:
        run: where and how the networks run.
        on_ready: told the address as soon as it can be asked.

    Raises:
        OptionError: the packages of the extra `app` are not installed.
    """
    try:
        import uvicorn

        from blurvid.app.pages import Guard, Pages, Windows
    except ModuleNotFoundError as error:
        raise OptionError(
            f"the app needs the package {error.name}; run: pip install 'blurvid[app]'"
        ) from error
    from blurvid.app.desk import Desk

    token = secrets.token_urlsafe(24)
    with (
        tempfile.TemporaryDirectory(prefix="blurvid-app-", ignore_cleanup_errors=True) as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        port = listener.getsockname()[1]
        desk = Desk(Path(folder), run)

        def end() -> None:
            server.should_exit = True

        pages = Pages(desk, Windows(GRACE, end))
        guarded = Guard(pages.app, token, (f"127.0.0.1:{port}", f"localhost:{port}"))
        config = uvicorn.Config(
            guarded,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        on_ready(f"http://127.0.0.1:{port}/{token}/")
        try:
            server.run([listener])
        finally:
            desk.close()
