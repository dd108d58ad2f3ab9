"""Discord's error answers, by the codes of its documentation."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """An error answer of the REST API: HTTP status, Discord's code, message and error tree."""

    def __init__(
        self, status: int, code: int, message: str, errors: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"message": message, "code": code}
        if errors is not None:
            self.body["errors"] = errors


def invalid_form(field: str, code: str, message: str) -> Refusal:
    """Refuse a body: `field` is a dotted path (empty for the whole body), `code` Discord's name."""
    errors: dict[str, Any] = {"_errors": [{"code": code, "message": message}]}
    for key in reversed([key for key in field.split(".") if key]):
        errors = {key: errors}
    return Refusal(400, 50035, "Invalid Form Body", errors)


def unauthorized() -> Refusal:
    """Refuse a call without the bot's token."""
    return Refusal(401, 0, "401: Unauthorized")


def not_found() -> Refusal:
    """Answer for a route that does not exist (here: is not emulated)."""
    return Refusal(404, 0, "404: Not Found")


def too_large() -> Refusal:
    """Refuse an upload over the limit."""
    return Refusal(413, 40005, "Request entity too large")


def unknown_webhook() -> Refusal:
    """Answer for a follow-up to an interaction that was not answered yet."""
    return Refusal(404, 10015, "Unknown Webhook")


def invalid_webhook_token() -> Refusal:
    """Answer for an interaction token that expired or never was."""
    return Refusal(401, 50027, "Invalid Webhook Token")


def missing_permissions() -> Refusal:
    """Answer when the bot may not do this here."""
    return Refusal(403, 50013, "Missing Permissions")
