"""The health page over a real socket."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import unused_port

from web.server import serving

HEALTHY = {"gateway": lambda: True, "worker": lambda: True}


async def get(port: int, path: str = "/healthz", host: str = "127.0.0.1") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


def open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_health_is_200_while_every_part_is_well() -> None:
    port = unused_port()
    async with serving(f"127.0.0.1:{port}", HEALTHY):
        assert await get(port) == (200, '{"gateway": true, "worker": true}')


async def test_health_is_503_as_soon_as_a_part_is_not() -> None:
    well = {"gateway": True, "worker": True}
    port = unused_port()
    checks = {"gateway": lambda: well["gateway"], "worker": lambda: well["worker"]}
    async with serving(f"127.0.0.1:{port}", checks):
        assert (await get(port))[0] == 200
        well["worker"] = False
        assert await get(port) == (503, '{"gateway": true, "worker": false}')
        well["worker"] = True
        assert (await get(port))[0] == 200


async def test_nothing_else_is_served() -> None:
    port = unused_port()
    async with serving(f"127.0.0.1:{port}", HEALTHY):
        assert (await get(port, "/"))[0] == 404


async def test_the_port_is_free_again_afterwards() -> None:
    port = unused_port()
    for _ in range(2):
        async with serving(f"127.0.0.1:{port}", HEALTHY):
            assert (await get(port))[0] == 200
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(port)


@pytest.mark.skipif(sys.platform == "win32", reason="open sockets are counted in /dev/fd")
async def test_without_an_address_no_socket_is_opened() -> None:
    before = open_files()
    async with serving("", HEALTHY):
        assert open_files() == before
    async with serving("127.0.0.1:0", HEALTHY):
        assert open_files() == before + 1


async def test_an_address_that_is_taken_is_an_error_and_leaves_the_other_alone() -> None:
    port = unused_port()
    async with serving(f"127.0.0.1:{port}", HEALTHY):
        with pytest.raises(OSError, match=r"address already in use|10048"):
            async with serving(f"127.0.0.1:{port}", HEALTHY):
                pytest.fail("it was served twice")
        assert (await get(port))[0] == 200


async def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        async with serving("192.0.2.1:8080", HEALTHY):
            pytest.fail("it was served")


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6 loopback")
async def test_ipv6_is_written_in_brackets() -> None:
    port = unused_port()
    async with serving(f"[::1]:{port}", HEALTHY):
        assert (await get(port, host="[::1]"))[0] == 200
