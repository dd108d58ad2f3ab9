"""What Discord checks in application commands and SimCord does not."""

from __future__ import annotations

import re
from typing import Any

from sandbox.discord.refusals import Refusal, invalid_form

_NAME = re.compile(r"[-_'\w]{1,32}")
_LIMITS = {1: 100, 2: 15, 3: 15}
_SUBCOMMAND, _GROUP = 1, 2
_MAX_OPTIONS = _MAX_CHOICES = 25
_MAX_MENU_NAME, _MAX_TEXT = 32, 100


def check_all(commands: Any) -> None:
    """Check a bulk registration.

    Raises:
        Refusal: 50035 with the path of the first fault, 30032 for too many commands.
    """
    if not isinstance(commands, list) or not all(isinstance(item, dict) for item in commands):
        raise invalid_form("", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    seen: set[tuple[Any, int]] = set()
    for index, command in enumerate(commands):
        check(command, str(index))
        key = (command["name"], command.get("type") or 1)
        if key in seen:
            raise invalid_form(
                f"{index}.name",
                "APPLICATION_COMMANDS_DUPLICATE_NAME",
                "Application command names must be unique",
            )
        seen.add(key)
    for kind, limit in _LIMITS.items():
        if sum(kind == type_ for _, type_ in seen) > limit:
            raise Refusal(400, 30032, f"Maximum number of application commands reached ({limit})")


def check(command: dict[str, Any], path: str) -> None:
    """Check one command; `path` is where it stands in the body.

    Raises:
        Refusal: 50035 with the path of the first fault.
    """
    if (command.get("type") or 1) == 1:
        _check_name(command, path)
        _check_text(command, path, "description")
        _check_options(command.get("options") or [], f"{path}.options")
    else:
        _check_menu(command, path)


def _check_menu(command: dict[str, Any], path: str) -> None:
    name = command.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_MENU_NAME:
        raise _length(f"{path}.name", 1, _MAX_MENU_NAME)
    if command.get("description"):
        raise invalid_form(
            f"{path}.description",
            "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION",
            "Context menu commands cannot have description",
        )


def _check_name(item: dict[str, Any], path: str) -> None:
    name = item.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name != name.lower():
        raise invalid_form(
            f"{path}.name",
            "APPLICATION_COMMAND_INVALID_NAME",
            "Command name is invalid",
        )


def _check_text(item: dict[str, Any], path: str, key: str) -> None:
    text = item.get(key)
    if text is None:
        raise invalid_form(f"{path}.{key}", "BASE_TYPE_REQUIRED", "This field is required")
    if not isinstance(text, str) or not 1 <= len(text) <= _MAX_TEXT:
        raise _length(f"{path}.{key}", 1, _MAX_TEXT)


def _check_options(options: list[dict[str, Any]], path: str) -> None:
    if len(options) > _MAX_OPTIONS:
        raise _length(path, 0, _MAX_OPTIONS)
    optional_seen = False
    for index, option in enumerate(options):
        _check_option(option, f"{path}.{index}")
        if option.get("required") and optional_seen:
            raise invalid_form(
                f"{path}.{index}",
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before non-required options",
            )
        optional_seen = optional_seen or not option.get("required")
    if len({option["name"] for option in options}) != len(options):
        raise invalid_form(
            path, "APPLICATION_COMMAND_OPTIONS_NAME_INVALID", "Option names must be unique"
        )


def _check_option(option: dict[str, Any], path: str) -> None:
    _check_name(option, path)
    _check_text(option, path, "description")
    if option.get("type") in (_SUBCOMMAND, _GROUP):
        _check_options(option.get("options") or [], f"{path}.options")
    choices = option.get("choices") or []
    if choices and option.get("autocomplete"):
        raise invalid_form(
            f"{path}.choices",
            "APPLICATION_COMMAND_OPTIONS_CHOICES_AUTOCOMPLETE",
            "Choices may not be used with autocomplete",
        )
    if len(choices) > _MAX_CHOICES:
        raise _length(f"{path}.choices", 0, _MAX_CHOICES)
    for index, choice in enumerate(choices):
        _check_text(choice, f"{path}.choices.{index}", "name")


def _length(path: str, low: int, high: int) -> Refusal:
    return invalid_form(
        path, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length."
    )
