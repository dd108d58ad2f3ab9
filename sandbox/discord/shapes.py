"""Completes SimCord's payloads to the shapes that Discord sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

EPHEMERAL = 1 << 6
_MESSAGE_MENU = 3

# Keys by which an object is recognised, and what Discord sends with it besides.
_DEFAULTS: list[tuple[frozenset[str], dict[str, Any]]] = [
    (
        frozenset({"username", "discriminator", "public_flags"}),
        {
            "accent_color": None,
            "avatar_decoration_data": None,
            "banner": None,
            "collectibles": None,
            "primary_guild": None,
        },
    ),
    (
        frozenset({"joined_at", "roles", "deaf"}),
        {"avatar_decoration_data": None, "banner": None, "collectibles": None},
    ),
    (frozenset({"permission_overwrites", "position"}), {"flags": 0, "nsfw": False}),
    (
        frozenset({"owner_id", "verification_level"}),
        {
            "home_header": None,
            "hub_type": None,
            "incidents_data": None,
            "latest_onboarding_question_id": None,
            "max_stage_video_channel_users": 50,
            "max_video_channel_users": 25,
            "nsfw": False,
            "nsfw_level": 0,
            "region": "deprecated",
            "safety_alerts_channel_id": None,
            "widget_channel_id": None,
            "widget_enabled": False,
        },
    ),
    (
        frozenset({"default_member_permissions", "application_id"}),
        {
            "contexts": None,
            "description_localizations": None,
            "integration_types": [0],
            "name_localizations": None,
            "nsfw": False,
        },
    ),
]
_PRIVATE = ("verified", "mfa_enabled", "locale")
_OMITTED_WHEN_EMPTY = ("nonce", "reactions", "sticker_items")


def complete(value: Any, rewrite: Callable[[str], str]) -> Any:
    """Return a deep copy with every object completed and every string passed to `rewrite`."""
    if isinstance(value, dict):
        return _completed({str(key): complete(item, rewrite) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return [complete(item, rewrite) for item in value]
    return rewrite(value) if isinstance(value, str) else value


def _completed(item: dict[str, Any]) -> dict[str, Any]:
    for marks, defaults in _DEFAULTS:
        if marks <= item.keys():
            item = {**defaults, **item}
    if {"username", "discriminator"} <= item.keys():
        _complete_user(item)
    if {"default_member_permissions", "application_id"} <= item.keys():
        item.setdefault("version", item["id"])
    if {"author", "mention_everyone", "embeds"} <= item.keys():
        _complete_message(item)
    return item


def _complete_user(user: dict[str, Any]) -> None:
    for key in _PRIVATE:
        user.pop(key, None)
    if user.get("bot"):
        user["global_name"] = None


def _complete_message(message: dict[str, Any]) -> None:
    for key in _OMITTED_WHEN_EMPTY:
        if not message.get(key):
            message.pop(key, None)
    if message.get("message_reference", {}).get("type") == 0:
        message.setdefault("referenced_message", None)
    for attachment in message["attachments"]:
        attachment["ephemeral"] = bool(message["flags"] & EPHEMERAL)
    files = {item["filename"]: item for item in message["attachments"]}
    for embed in message["embeds"]:
        _complete_embed(embed, files)
    if "interaction_metadata" in message:
        _complete_metadata(message)


def _complete_embed(embed: dict[str, Any], files: dict[str, dict[str, Any]]) -> None:
    embed.setdefault("type", "rich")
    for part in (embed.get("image"), embed.get("thumbnail"), embed.get("author")):
        for key in ("url", "icon_url"):
            name = str((part or {}).get(key, "")).removeprefix("attachment://")
            if part and name in files:
                part[key] = files[name]["url"]


def _complete_metadata(message: dict[str, Any]) -> None:
    """Write the origin of an interaction's answer as Discord documents it."""
    metadata = message["interaction_metadata"]
    if message.get("guild_id"):
        metadata["authorizing_integration_owners"] = {"0": message["guild_id"]}
    target, kind = metadata.pop("target_id", None), metadata.pop("target_type", None)
    if metadata.pop("target_channel_id", None) is not None and kind == _MESSAGE_MENU:
        metadata["target_message_id"] = str(target)
    message["application_id"] = message["webhook_id"] = message["author"]["id"]


def interaction(payload: dict[str, Any], upload_limit: int) -> dict[str, Any]:
    """Return an INTERACTION_CREATE payload as Discord sends it; `upload_limit` is in bytes."""
    whole = {**payload, "attachment_size_limit": upload_limit, "entitlement_sku_ids": []}
    if guild_id := payload.get("guild_id"):
        whole["authorizing_integration_owners"] = {"0": guild_id}
        whole["guild"] = {"id": guild_id, "locale": payload["guild_locale"], "features": []}
        whole["channel"] = {
            **payload["channel"],
            "permissions": payload["member"]["permissions"],
            "app_permissions": payload["app_permissions"],
        }
    files = payload["data"].get("resolved", {}).get("attachments", {})
    if files:
        short_lived = {key: _ephemeral(file) for key, file in files.items()}
        resolved = {**payload["data"]["resolved"], "attachments": short_lived}
        whole["data"] = {**payload["data"], "resolved": resolved}
    return whole


def _ephemeral(file: dict[str, Any]) -> dict[str, Any]:
    url = file["url"].replace("/attachments/", "/ephemeral-attachments/", 1)
    return {**file, "ephemeral": True, "url": url, "proxy_url": url}
