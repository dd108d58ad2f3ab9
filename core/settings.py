"""The settings: environment variables, or the same names in a `.env` file beside the process."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable

ENV_FILE = Path(".env")
UNKNOWN = "{name} is no setting of Dailies; .env.example lists them all."
WORDS = {
    "int_parsing": "it must be a whole number",
    "float_parsing": "it must be a number",
    "decimal_parsing": "it must be a number",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "literal_error": "it must be {expected}",
}
"""What pydantic says of a value, for people."""
OUR_PREFIXES = ("DISCORD_", "SEGMIND_", "WAVESPEED_")


class SettingsError(Exception):
    """One sentence that names the setting at fault, never its value."""


class Settings(BaseSettings):
    """What an operator can set. `.env.example` says why, a line each."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, env_ignore_empty=True, extra="forbid", hide_input_in_errors=True
    )

    discord_token: SecretStr
    discord_api_url: str = "https://discord.com/api/v10"
    segmind_api_key: SecretStr
    segmind_base_url: str = "https://api.segmind.com"
    segmind_upload_url: str = "https://workflows-api.segmind.com/upload-asset"
    segmind_history_url: str = "https://api.spotprod.segmind.com/inference-request/request-history"
    default_guild_credits: int = Field(default=0, ge=0, le=10**9)
    price_markup: Decimal = Field(default=Decimal(1), gt=0, le=1000)
    database_url: str = ""
    data_dir: Path = Path("data")
    keep_files_days: float = Field(default=7, ge=1)
    http_bind: str = ""
    jobs_max: int = Field(default=20, ge=1, le=1000)
    poll_interval_s: float = Field(default=3, ge=0.1, le=60)
    submit_timeout_s: float = Field(default=60, ge=1, le=600)
    submit_doubt_s: float = Field(default=120, ge=0, le=3600)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator(
        "discord_api_url", "segmind_base_url", "segmind_upload_url", "segmind_history_url"
    )
    @classmethod
    def _https_or_loopback(cls, url: str) -> str:
        if not _is_https_or_loopback(url):
            raise ValueError("must be an https address (http only on loopback)")
        return url.rstrip("/")

    @field_validator("discord_token", "segmind_api_key")
    @classmethod
    def _one_word(cls, secret: SecretStr) -> SecretStr:
        """Drop the line break that secrets read from files end with: no header can carry it."""
        word = secret.get_secret_value().strip()
        if not (word.isascii() and word.isprintable() and word and " " not in word):
            raise ValueError("must be one word of plain ASCII")
        return SecretStr(word)

    @field_validator("database_url")
    @classmethod
    def _sqlite(cls, url: str) -> str:
        if url and not url.startswith("sqlite+aiosqlite:///"):
            raise ValueError("must begin with sqlite+aiosqlite:///")
        return url

    @field_validator("http_bind")
    @classmethod
    def _host_and_port(cls, bind: str) -> str:
        host, _, port = bind.rpartition(":")
        if bind and not (host and port.isdecimal() and int(port) < 65536):  # noqa: PLR2004 — ports
            raise ValueError("must be host:port, such as 127.0.0.1:8080")
        return bind

    @classmethod
    def load(cls) -> Self:
        """Read the settings.

        Raises:
            SettingsError: a name is unknown or missing, or a value is wrong.
        """
        _refuse_unknown_names(cls.model_fields)
        try:
            return cls()
        except UnicodeDecodeError:
            raise SettingsError(f"{ENV_FILE} is not UTF-8 text; save it as such.") from None
        except ValidationError as error:
            raise SettingsError(_sentence(error)) from None

    @property
    def database(self) -> str:
        """The database's address, by default a file in the data folder."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir / 'dailies.sqlite3'}"

    @property
    def database_lock(self) -> Path:
        """The file beside the SQLite file that says whether a bot is running on it."""
        return Path(self.database.removeprefix("sqlite+aiosqlite:///") + ".lock")

    @property
    def secrets(self) -> list[str]:
        """What must never be written anywhere."""
        return [self.discord_token.get_secret_value(), self.segmind_api_key.get_secret_value()]

    @property
    def loopback_origins(self) -> frozenset[str]:
        """The plain-http origins that these settings name: the sandbox's, if any."""
        urls = (
            self.discord_api_url,
            self.segmind_base_url,
            self.segmind_upload_url,
            self.segmind_history_url,
        )
        parts = [urlsplit(url) for url in urls]
        return frozenset(f"http://{part.netloc}" for part in parts if part.scheme == "http")


def _is_https_or_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None  # a port out of range raises as well
    except ValueError:  # its text quotes the address
        return False
    if parts.scheme == "http":
        return host in {"127.0.0.1", "localhost", "::1"}
    return parts.scheme == "https" and bool(host)


def _refuse_unknown_names(known: Iterable[str]) -> None:
    """Catch a mistyped name in the environment; pydantic-settings does it for `.env`."""
    names = {name.upper() for name in known}
    for name in sorted(os.environ):
        if name.upper().startswith(OUR_PREFIXES) and name.upper() not in names:
            raise SettingsError(UNKNOWN.format(name=name))


def _sentence(error: ValidationError) -> str:
    fault: dict[str, Any] = dict(error.errors(include_input=False, include_url=False)[0])
    name = str(fault["loc"][0]).upper()
    if fault["type"] == "extra_forbidden":
        return UNKNOWN.format(name=name)
    if fault["type"] == "missing":
        return f"{name} is not set: copy .env.example to .env and fill it in."
    words = WORDS.get(fault["type"], "").format(**fault.get("ctx", {}))
    return f"{name} is wrong: {words or str(fault['msg']).removeprefix('Value error, ')}."
