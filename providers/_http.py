"""What all adapters share: JSON over aiohttp, read with a cap, whatever the headers claim."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

ANSWER_BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer. `data` is empty where the body was no JSON object."""

    status: int
    headers: Mapping[str, str]
    data: dict[str, Any]
    text: str

    @property
    def is_ok(self) -> bool:
        """Whether the status is one of success."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


async def read_answer(response: aiohttp.ClientResponse, secret: str) -> Answer:
    """Read a whole answer; where it quotes `secret`, as refusals of a key do, that is blotted out.

    Raises:
        ValueError: it is larger than `ANSWER_BYTES_MAX`.
        aiohttp.ClientError, TimeoutError: the connection broke on the way.
    """
    body = b""
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise ValueError("the answer is too large")
    text = body.decode("utf-8", errors="replace").replace(secret, "[secret]")
    return Answer(response.status, response.headers, _json_object(text), text)


def _json_object(text: str) -> dict[str, Any]:
    try:
        data = _storable(json.loads(text))
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _storable(data: Any) -> Any:
    """Replace what Python reads but no database takes: NaN and halves of a character."""
    clean = json.dumps(data, ensure_ascii=False).encode("utf-8", errors="replace")
    return json.loads(clean, parse_constant=lambda _: None)
