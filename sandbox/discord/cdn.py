"""Discord's CDN: attachments on disk, behind signed addresses that expire."""

from __future__ import annotations

import hashlib
import hmac
import mimetypes
import secrets
import shutil
import time
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path

# Discord's addresses live about a day; the start is rounded, so that an address stays the same
# within the hour and a page does not load a playing video again at every edit of its message.
LIFETIME_S = 24 * 3600
_ROUNDING_S = 3600
_INLINE = ("image/", "video/", "audio/")


class Attachments:
    """The files behind attachment ids, and the signatures of their addresses."""

    def __init__(self, folder: Path) -> None:
        # Messages live in memory only, so files of an earlier run belong to nothing.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self._secret = secrets.token_bytes(32)

    def put(self, attachment_id: int, data: bytes) -> Path:
        """Store a file and return where it lies."""
        path = self.path(attachment_id)
        path.write_bytes(data)
        return path

    def path(self, attachment_id: int) -> Path:
        """Return where the file of an attachment lies, if it exists."""
        return self._folder / str(attachment_id)

    def drop(self, attachment_id: int) -> None:
        """Forget a file."""
        self.path(attachment_id).unlink(missing_ok=True)

    def signed(self, path: str) -> str:
        """Append `ex`, `is` and `hm` (hexadecimal Unix seconds, HMAC) to a CDN path."""
        issued = int(time.time()) // _ROUNDING_S * _ROUNDING_S
        expires, start = f"{issued + LIFETIME_S:x}", f"{issued:x}"
        return f"{path}?ex={expires}&is={start}&hm={self._mac(path, expires, start)}&"

    def is_valid(self, path: str, query: dict[str, str]) -> bool:
        """Whether the address was signed here and has not expired."""
        expires, start = query.get("ex", ""), query.get("is", "")
        if not hmac.compare_digest(
            self._mac(path, expires, start).encode(), query.get("hm", "").encode()
        ):
            return False
        return int(expires, 16) > time.time()

    def _mac(self, path: str, expires: str, start: str) -> str:
        return hmac.new(
            self._secret, f"{path}\n{expires}\n{start}".encode(), hashlib.sha256
        ).hexdigest()


def _headers(filename: str) -> dict[str, str]:
    kind = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    shown = kind.startswith(_INLINE) and kind != "image/svg+xml"
    return {
        "Content-Type": kind,
        "Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{filename}"',
        "X-Content-Type-Options": "nosniff",
        # What members upload must never run as a page of this origin.
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, max-age=3600",
    }


def routes(attachments: Attachments) -> list[web.RouteDef]:
    """Serve `/cdn/(ephemeral-)attachments/{channel}/{attachment}/{filename}`, with ranges."""

    async def download(request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/cdn")
        if not attachments.is_valid(path, dict(request.query)):
            return _gone()
        file = attachments.path(int(request.match_info["attachment"]))
        if not file.is_file():
            return _gone()
        return web.FileResponse(file, headers=_headers(request.match_info["filename"]))

    place = r"{channel:\d+}/{attachment:\d+}/{filename}"
    return [
        web.get(f"/cdn/{kind}/{place}", download)
        for kind in ("attachments", "ephemeral-attachments")
    ]


def _gone() -> web.Response:
    return web.Response(status=404, text="This content is no longer available.")
