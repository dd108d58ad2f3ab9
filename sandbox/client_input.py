"""From what somebody types to what Discord's client would send. Python from 3.8."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.client_wire import NOBODY_THERE, Stop

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sandbox.client_wire import Sandbox

SUB_COMMAND, SUB_COMMAND_GROUP = 1, 2
INTEGER, BOOLEAN, USER, CHANNEL, MENTIONABLE, NUMBER, ATTACHMENT = 4, 5, 6, 7, 9, 10, 11
CHAT_COMMAND, MESSAGE_COMMAND = 1, 3
BUTTON, STRING_SELECT = 2, 3
SELECTS = (STRING_SELECT, 5, 6, 7, 8)
LINK_STYLE = 5


def read_command(
    sandbox: Sandbox, arguments: argparse.Namespace
) -> tuple[dict[str, Any], list[Path]]:
    """Return the interaction that a typed command means, and the files that it sends."""
    guild = sandbox.guild()
    commands = sandbox.commands()
    text = arguments.text.strip().lstrip("/")
    if arguments.on:
        return _context_menu(commands, text, arguments.on), []
    name, options, rest = find_command(commands, text)
    values = read_options(options, rest, guild)
    files = _attach(name, options, values, [arguments.image, arguments.end_image])
    return {"command": name, "options": values}, files


def _context_menu(commands: list[dict[str, Any]], name: str, target: str) -> dict[str, Any]:
    names = [each["name"] for each in commands if each.get("type") == MESSAGE_COMMAND]
    for known in names:
        if known.lower() == name.lower():
            return {"command": known, "target_message": target, "options": {}}
    sentence = f"Messages have no command {name!r}; they have: {_listed(names)}."
    raise Stop(sentence, NOBODY_THERE)


def find_command(
    commands: list[dict[str, Any]], text: str
) -> tuple[str, list[dict[str, Any]], str]:
    """Return the command's full name, its options, and the text that follows it."""
    level = [each for each in commands if each.get("type", CHAT_COMMAND) == CHAT_COMMAND]
    path: list[str] = []
    rest = text
    while True:
        word, rest = [*rest.split(None, 1), "", ""][:2]
        found = [each for each in level if each["name"] == word.lower()]
        if not found:
            known = _listed(["/" + " ".join([*path, each["name"]]) for each in level])
            wanted = " ".join([*path, word])
            raise Stop(f"There is no command /{wanted}; there are: {known}.", NOBODY_THERE)
        path.append(found[0]["name"])
        options = found[0].get("options") or []
        level = [each for each in options if each["type"] in (SUB_COMMAND, SUB_COMMAND_GROUP)]
        if not level:
            return " ".join(path), options, rest


def read_options(options: list[dict[str, Any]], text: str, guild: dict[str, Any]) -> dict[str, Any]:
    """Split `text` at the options' names and convert each value to its option's type."""
    by_name = {option["name"]: option for option in options}
    if not by_name and text.strip():
        raise Stop("This command takes no options.")
    names = "|".join(re.escape(name) for name in sorted(by_name, key=len, reverse=True))
    pieces = re.split(rf"(?:^|(?<=\s))({names}):", text.strip())
    if pieces[0].strip():
        known = _listed(list(by_name))
        raise Stop(f"{pieces[0].strip()!r} belongs to no option; the options are: {known}.")
    values: dict[str, Any] = {}
    for name, value in zip(pieces[1::2], pieces[2::2]):  # noqa: B905 — strict= is Python 3.10's
        if name in values:
            raise Stop(f"The option {name} is given twice.")
        values[name] = _convert(by_name[name], value.strip(), guild)
    return values


def _convert(option: dict[str, Any], text: str, guild: dict[str, Any]) -> Any:
    if option.get("choices"):
        return _choice(option, text)
    kind = option["type"]
    if kind in (INTEGER, NUMBER):
        return _number(option, text)
    if kind == BOOLEAN:
        return _boolean(option, text)
    if kind in (USER, MENTIONABLE):
        return _named(option, text, guild["members"])
    if kind == CHANNEL:
        return _named(option, text, guild["channels"])
    if kind == ATTACHMENT:
        raise Stop(f"The option {option['name']} takes a file: give it by --image or --end-image.")
    return text


def _choice(option: dict[str, Any], text: str) -> Any:
    for choice in option["choices"]:
        if text.lower() in (str(choice["name"]).lower(), str(choice["value"]).lower()):
            return choice["value"]
    known = _listed([str(choice["name"]) for choice in option["choices"]])
    raise Stop(f"The option {option['name']} has no choice {text!r}; it has: {known}.")


def _number(option: dict[str, Any], text: str) -> float:
    try:
        return int(text) if option["type"] == INTEGER else float(text)
    except ValueError:
        kind = "a whole number" if option["type"] == INTEGER else "a number"
        raise Stop(f"The option {option['name']} wants {kind}, not {text!r}.") from None


def _boolean(option: dict[str, Any], text: str) -> bool:
    if text.lower() not in ("true", "yes", "false", "no"):
        raise Stop(f"The option {option['name']} wants true or false, not {text!r}.")
    return text.lower() in ("true", "yes")


def _named(option: dict[str, Any], text: str, known: list[dict[str, Any]]) -> str:
    wanted = text.strip("<>@#!")
    for each in known:
        if wanted in (each["id"], each["name"], each.get("display_name")):
            return str(each["id"])
    names = _listed([each["name"] for each in known])
    raise Stop(f"The option {option['name']} finds no {text!r} here; there are: {names}.")


def _attach(
    command: str,
    options: list[dict[str, Any]],
    values: dict[str, Any],
    given: list[str | None],
) -> list[Path]:
    """Put the files into the first and the second attachment option. Return them in order."""
    names = [option["name"] for option in options if option["type"] == ATTACHMENT]
    files: list[Path] = []
    for position, path in enumerate(given):
        if path is None:
            continue
        if position >= len(names):
            raise Stop(f"/{command} takes {'only one' if names else 'no'} image.")
        values[names[position]] = {"file": len(files)}
        files.append(Path(path))
    return files


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def walk(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield every component, however deep it is nested; labels are handed down to inputs."""
    for component in components:
        yield component
        inner = list(component.get("components") or [])
        inner += [component[key] for key in ("component", "accessory") if component.get(key)]
        yield from walk(
            [{**each, "label": each.get("label") or component.get("label")} for each in inner]
        )


def press(message: dict[str, Any], label: str, selected: list[str]) -> dict[str, Any]:
    """Return the interaction of a message's button, or of a select with these values."""
    component = _find_component(message, label)
    if component.get("disabled"):
        raise Stop(f"{label!r} is switched off.")
    if component.get("style") == LINK_STYLE and component["type"] == BUTTON:
        raise Stop(f"{label!r} is a link to {component['url']}.")
    body: dict[str, Any] = {"custom_id": component["custom_id"]}
    if component["type"] in SELECTS:
        body["values"] = [_select_value(component, each) for each in selected]
    return body


def _find_component(message: dict[str, Any], label: str) -> dict[str, Any]:
    known = []
    for component in walk(message.get("components") or []):
        if component["type"] not in (BUTTON, *SELECTS):
            continue
        name = component.get("label") or component.get("placeholder") or ""
        if label.lower() == name.lower() or label == component.get("custom_id"):
            return component
        known.append(name)
    raise Stop(f"This message has no button {label!r}; it has: {_listed(known)}.")


def _select_value(select: dict[str, Any], text: str) -> str:
    for option in select.get("options") or []:
        if text.lower() in (option["label"].lower(), option["value"].lower()):
            return str(option["value"])
    if select["type"] != STRING_SELECT:
        return text
    known = _listed([option["label"] for option in select["options"]])
    raise Stop(f"There is no {text!r} to select; there are: {known}.")


def fill_in(modal: dict[str, Any], given: list[str]) -> dict[str, str]:
    """Return a modal's fields: what it suggests, then what is given as `label or id=value`."""
    inputs = [each for each in walk(modal["components"]) if "custom_id" in each]
    fields = {each["custom_id"]: each["value"] for each in inputs if each.get("value")}
    for text in given:
        name, _, value = text.partition("=")
        field = _find_field(inputs, name.strip())
        select = field["type"] == STRING_SELECT
        fields[field["custom_id"]] = _select_value(field, value) if select else value
    return fields


def _find_field(inputs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for field in inputs:
        if name == field["custom_id"] or name.lower() == (field.get("label") or "").lower():
            return field
    known = _listed([each.get("label") or each["custom_id"] for each in inputs])
    raise Stop(f"The form has no field {name!r}; it has: {known}.")
