"""Which addresses may be fetched: judged on the URL, on what its name resolves to, on the socket.

All three, because each sees what the others cannot: aiohttp never asks a resolver about a literal
IP address, and only the socket knows where the connection really goes.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from core.errors import FetchForbidden

if TYPE_CHECKING:
    from aiohttp.connector import AddrInfoType

HTTPS_PORT = 443

# No control character, space, backslash or letter beyond ASCII: nothing two parsers read in two
# ways. A signed URL is then sent as it came, since re-quoting it may break its signature.
PLAIN = re.compile(r"[!-\[\]-~]+")
NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.IGNORECASE)
# inet_aton reads a last label like these as an IPv4 address: 2130706433, 127.1, 0x7f.1, 0177.0.0.1.
NUMERIC = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE)

# Of IPv6 only global unicast, without the ranges that carry an IPv4 address (Teredo, 6to4). Older
# Pythons call some of the rest global.
IPV6_UNICAST = ipaddress.ip_network("2000::/3")
IPV6_CARRIERS = (ipaddress.ip_network("2001::/23"), ipaddress.ip_network("2002::/16"))


def is_public(address: str) -> bool:
    """Tell whether a literal IP address is one of the public internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast:
        return False
    return ip.version == 4 or (  # noqa: PLR2004 — IPv4 is called 4
        ip in IPV6_UNICAST and not any(ip in carrier for carrier in IPV6_CARRIERS)
    )


def parse(text: str, base: URL | None = None) -> URL:
    """Read an absolute URL, or one relative to `base`, exactly as it is written.

    Raises:
        FetchForbidden: it is no http(s) URL, or one that could be read in two ways.
    """
    refusal = FetchForbidden("not an address to download from")
    if not PLAIN.fullmatch(text):
        raise refusal
    try:
        url = URL(text, encoded=True)
        url = base.join(url) if base else url
        whole = url.scheme in {"http", "https"} and url.raw_host and url.port
    except ValueError:
        raise refusal from None
    if not whole:
        raise refusal
    return url


class AddressRules:
    """https on port 443 at public addresses; besides, exactly the named loopback origins."""

    def __init__(self, loopback_origins: frozenset[str]) -> None:
        self._origins = frozenset(URL(origin).origin() for origin in loopback_origins)
        self._loopback = {(origin.raw_host, origin.port) for origin in self._origins}
        self._loopback_ports = {origin.port for origin in self._origins}

    def check_url(self, url: URL, hosts: frozenset[str] | None) -> None:
        """Judge a URL before anything is resolved.

        Raises:
            FetchForbidden: its scheme, port, user or host is none that we fetch from.
        """
        if "@" in url.raw_authority:
            raise FetchForbidden("the address names a user")
        if url.origin() in self._origins:
            return
        if url.scheme != "https" or url.port != HTTPS_PORT:
            raise FetchForbidden("only https on port 443 is fetched")
        _check_host(url.raw_host or "", hosts)

    def check_resolved(self, host: str, port: int, address: str) -> None:
        """Judge what a name resolved to.

        Raises:
            FetchForbidden: that is not a public address.
        """
        if not (is_public(address) or ((host, port) in self._loopback and _is_loopback(address))):
            raise FetchForbidden(f"{host} leads into a private network")

    def open_socket(self, info: AddrInfoType) -> socket.socket:
        """Judge the very address that is connected to, then make its socket.

        Raises:
            FetchForbidden: it is not a public address.
        """
        family, kind, protocol, _, where = info
        address, port = str(where[0]), where[1]
        if not (is_public(address) or (port in self._loopback_ports and _is_loopback(address))):
            raise FetchForbidden("the address leads into a private network")
        return socket.socket(family, kind, protocol)


class CheckedResolver(AbstractResolver):
    """Resolves a name once per connection and lets only allowed addresses through."""

    def __init__(self, inner: AbstractResolver, rules: AddressRules) -> None:
        self._inner = inner
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve; one forbidden address among the answers spoils them all."""
        found = await self._inner.resolve(host, port, family)
        for result in found:
            self._rules.check_resolved(host, port, result["host"])
        return found

    async def close(self) -> None:
        """Release the inner resolver."""
        await self._inner.close()


def _check_host(host: str, hosts: frozenset[str] | None) -> None:
    if hosts is not None and host.lower() not in hosts:
        raise FetchForbidden("this host is not fetched from")
    if not (_is_literal(host) or (NAME.fullmatch(host) and not NUMERIC.fullmatch(host))):
        raise FetchForbidden("not a host name")
    if _is_literal(host) and not is_public(host):
        raise FetchForbidden("the address leads into a private network")


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def _is_loopback(address: str) -> bool:
    return _is_literal(address) and ipaddress.ip_address(address).is_loopback
