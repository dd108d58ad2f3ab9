"""`python3 -m sandbox`, `serve`, `say`, `click`: the sandbox's command line.

Standard library only, and any Python from 3.8, until a server is really started: `say` and
`click` run without a virtual environment.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sandbox import client
from sandbox.client_wire import DEFAULT_URL, PYTHON

LAST_PORT = 65535
REPOSITORY = Path(__file__).resolve().parent.parent
INSTALL = (
    "The sandbox needs {}: run `make sandbox`, or, with Python 3.11 to 3.13, "
    f"`{PYTHON} -m pip install -r requirements-sandbox.txt`.\n"
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Return the exit status."""
    options = parser().parse_args(arguments)
    if options.command == "say":
        return client.say(options)
    if options.command == "click":
        return client.click(options)
    return _launch(options)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = argparse.ArgumentParser(
        prog=f"{PYTHON} -m sandbox",
        description="Try the bot without an account: Discord and the video providers are emulated "
        "on this machine. Without a command: emulators, page and bot.",
    )
    root.set_defaults(port=8090, data=None, speed=10.0)
    _add_server_options(root)
    commands = root.add_subparsers(dest="command", metavar="serve|say|click")
    serve = commands.add_parser("serve", help="emulators and page only, for a bot of your own")
    _add_server_options(serve)
    _add_say(commands.add_parser("say", help="send a command as a member"))
    _add_click(commands.add_parser("click", help="press a button or a select of a message"))
    return root


def _add_server_options(to: argparse.ArgumentParser) -> None:
    # Suppressed defaults: what stands before `serve` must survive the sub-parser.
    to.add_argument("--port", type=_port, default=argparse.SUPPRESS, help="default 8090")
    to.add_argument(
        "--data",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="default data/sandbox-PORT",
    )
    to.add_argument(
        "--speed",
        type=_speed,
        default=argparse.SUPPRESS,
        metavar="X",
        help="divides the providers' latencies (default 10)",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {LAST_PORT}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError("must be a number above 0")
    return speed


def _add_say(to: argparse.ArgumentParser) -> None:
    to.add_argument("text", help="as typed in Discord: '/video prompt:a red fox aspect:9:16'")
    to.add_argument("--image", metavar="FILE", help="for the command's first attachment option")
    to.add_argument("--end-image", metavar="FILE", help="for its second attachment option")
    to.add_argument("--on", metavar="MESSAGE_ID", help="run a message's context menu command")
    _add_member_options(to)


def _add_click(to: argparse.ArgumentParser) -> None:
    to.add_argument("message", metavar="MESSAGE_ID")
    to.add_argument(
        "label", metavar="LABEL", help="the button's label, or the select's placeholder"
    )
    to.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="'LABEL=VALUE'",
        help="a field of the form that it opens, by label or id",
    )
    to.add_argument("--select", action="append", default=[], metavar="VALUE")
    _add_member_options(to)


def _add_member_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("--member", metavar="NAME", help="default alice")
    to.add_argument("--channel", metavar="NAME", help="default: the first text channel")
    to.add_argument("--guild", metavar="NAME", help="default: the first guild")
    to.add_argument("--timeout", type=float, default=120.0, metavar="S", help="default 120")
    to.add_argument("--out", metavar="FILE.mp4", help="wait for the video and save it")
    to.add_argument("--url", help="default: SANDBOX_URL, else " + DEFAULT_URL)


def _launch(options: argparse.Namespace) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 — `say` and `click` run on older ones
        sys.stderr.write(INSTALL.format("a newer Python"))
        return 2
    try:
        from sandbox import launch  # noqa: PLC0415 — heavy: only where a server is started
    except ModuleNotFoundError as error:
        if error.name is None or (REPOSITORY / error.name.partition(".")[0]).exists():
            raise  # ours, so a fault, not a missing package
        sys.stderr.write(INSTALL.format(f"the package {error.name!r}"))
        return 2
    return launch.main(options)


if __name__ == "__main__":
    sys.exit(main())
