"""Logs: no secret, no interaction token, no signed address, no forged line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from core.logs import SafeFormatter, set_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TOKEN, KEY = "MTIzNDU2Nzg5.abcdef.the-token", "SG_0123456789abcdef"
INTERACTION = "aW50ZXJhY3Rpb246MTIz:x+yz-_~.%3D%3D="
FORMATTER = SafeFormatter([TOKEN, KEY, ""])


def logged(message: str, *args: object, error: BaseException | None = None) -> str:
    trace = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("dailies", logging.INFO, __file__, 1, message, args, trace)
    return FORMATTER.format(record)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return the error with a traceback."""
    try:
        raise error from cause
    except type(error) as caught:
        return caught


# --- Secrets ---


def test_a_secret_is_blotted_out_wherever_it_stands() -> None:
    line = logged("key=%s %r", KEY, {"x-api-key": KEY, "Authorization": f"Bot {TOKEN}"})
    assert "key=[secret] {'x-api-key': '[secret]', 'Authorization': 'Bot [secret]'}" in line


def test_a_secret_in_a_chain_of_exceptions_is_blotted_out() -> None:
    error = raised(RuntimeError("outer"), raised(ValueError(f"inner {KEY}")))
    text = logged("it broke", error=error)
    assert "inner [secret]" in text
    assert KEY not in text


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v10/webhooks/123/{INTERACTION}",
        f"/api/v10/webhooks/123/{INTERACTION}/messages/@original",
        f"/api/v10/interactions/456/{INTERACTION}/callback",
        f"/api/v10/interactions/456/{INTERACTION}/callback?with_response=1",
        f"/api/v10/webhooks/123/{INTERACTION}?wait=true",
        "/api/v10/webhooks/123/short",
    ],
)
@pytest.mark.parametrize("frame", ["%s", "POST %s failed", "url='https://discord.com%s'", "<%s>"])
def test_an_interactions_token_is_blotted_out_of_paths(path: str, frame: str) -> None:
    line = logged(frame, path)
    assert "/[token]" in line
    for piece in (INTERACTION, INTERACTION[-8:], INTERACTION[:8], "short"):
        assert piece not in line


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.discordapp.com/attachments/1/2/fox.png?ex=66&is=65&hm=s3cret",
        "http://127.0.0.1:8090/outputs/1.mp4?X-Amz-Signature=s3cret&X-Amz-Date=1",
    ],
)
@pytest.mark.parametrize("frame", ["%s", "fetching %s failed", "url='%s'", 'URL("%s")'])
def test_a_signed_address_keeps_its_place_and_loses_its_signature(url: str, frame: str) -> None:
    line = logged(frame, url)
    assert "s3cret" not in line
    assert url.partition("?")[0] + "?[…]" in line


# --- Errors of aiohttp, whose texts hold whole addresses ---


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    """A server that knows no address."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def error_of(url: str) -> aiohttp.ClientResponseError:
    headers = {"x-api-key": KEY, "Authorization": f"Bot {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        with pytest.raises(aiohttp.ClientResponseError) as refused:
            await session.get(url)
    return refused.value


async def test_aiohttps_errors_are_safe_to_log(origin: str) -> None:
    error = await error_of(f"{origin}/webhooks/1/{INTERACTION}?sig=s3cret")
    assert "s3cret" in str(error), "the test proves nothing if the error is harmless"
    text = logged("%r %s", error, error.request_info, error=error)
    assert "Traceback" in text
    for secret in (KEY, TOKEN, "s3cret", INTERACTION, "aW50ZXJhY3Rpb246"):
        assert secret not in text


# --- Forged lines ---


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028"])
def test_a_message_is_one_line(line_break: str) -> None:
    line = logged("prompt: %s", f"a fox{line_break}2026-11-20 INFO dailies: granted")
    assert len(line.splitlines()) == 1
    assert "a fox\\" in line
    assert line.endswith("granted")


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n", "\u2029"])
def test_an_exceptions_text_cannot_look_like_a_record(line_break: str) -> None:
    error = raised(RuntimeError(f"oops{line_break}2026-11-20 INFO dailies: granted"))
    first, *rest = logged("it broke", error=error).splitlines()
    assert first.endswith("dailies: it broke")
    assert len(rest) >= 4
    assert all(line.startswith("    ") for line in rest)


@pytest.mark.parametrize(
    ("character", "shown"),
    [("\x1b", "\\x1b"), ("\x00", "\\x00"), ("\u202e", "\\u202e"), ("\ud800", "\\ud800")],
)
def test_what_cannot_be_seen_is_escaped(character: str, shown: str) -> None:
    assert logged("a%sb", character).endswith(f"a{shown}b")


def test_words_in_any_writing_are_kept() -> None:
    assert logged("%s", "Füchse 狐狸 🦊 ثعلب").endswith("Füchse 狐狸 🦊 ثعلب")


# --- Set up ---


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root, discord = logging.getLogger(), logging.getLogger("discord")
    before = root.handlers[:], root.level, discord.level
    yield
    root.handlers[:], root.level = before[0], before[1]
    discord.setLevel(before[2])


@pytest.mark.usefixtures("restored_logging")
def test_everything_goes_to_standard_error_safely(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("DEBUG", [KEY])
    logging.getLogger("some.library").debug("key %s", KEY)
    # discord.py's debug lines hold whole gateway payloads, interaction tokens among them.
    logging.getLogger("discord.gateway").debug("token %s", INTERACTION)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("DEBUG   some.library: key [secret]\n")
