"""Logging that can be read safely: no secret, no interaction token, no forged lines."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Texts of aiohttp's and discord.py's exceptions hold whole addresses, tokens included.
TOKENS_IN_PATHS = re.compile(r"(/(?:webhooks|interactions)/\d+/)[^/?#\s'\"<>,)]+")
SIGNED_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")


class SafeFormatter(logging.Formatter):
    """Formats a record, then blots secrets out and escapes control characters."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._secrets = [secret for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        """Return the safe line; a traceback keeps its line breaks, indented.

        The indentation tells its lines from records, whatever an exception's text holds.
        """
        text = self._blot(super().format(record)).replace("\n", "\n    ")
        return "".join(_visible(c) for c in text)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 — logging's own name
        """Keep a line break in a message from looking like a new record."""
        return super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")

    def _blot(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return SIGNED_QUERY.sub(r"\1?[…]", TOKENS_IN_PATHS.sub(r"\1[token]", text))


def _visible(character: str) -> str:
    """Escape what moves the cursor, breaks lines, turns the writing or cannot be seen."""
    if character == "\n" or character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def set_up(level: str, secrets: Iterable[str]) -> None:
    """Send all logs to standard error through the safe formatter."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("discord").setLevel(max(logging.INFO, logging.getLevelName(level)))
    logging.getLogger("alembic").setLevel(logging.WARNING)
