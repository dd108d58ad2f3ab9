"""Settings from the environment and from `.env`: every mistake is one sentence without a value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.settings import OUR_PREFIXES, Settings, SettingsError

TOKEN, KEY = "MTIzNDU2Nzg5.abcdef.the-token", "SG_0123456789abcdef"
REQUIRED = f"DISCORD_TOKEN={TOKEN}\nSEGMIND_API_KEY={KEY}\n"
EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and none of our names in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.lower() in Settings.model_fields or name.upper().startswith(OUR_PREFIXES):
            monkeypatch.delenv(name)


def with_env_file(text: str) -> Settings:
    Path(".env").write_text(text, encoding="utf-8")
    return Settings.load()


# --- What is read ---


def test_two_secrets_are_enough_and_the_rest_is_safe() -> None:
    settings = with_env_file(REQUIRED)
    assert settings.secrets == [TOKEN, KEY]
    assert settings.http_bind == ""
    assert settings.default_guild_credits == 0
    assert settings.database == f"sqlite+aiosqlite:///{Path('data/dailies.sqlite3')}"


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS_MAX", "7")
    assert with_env_file(f"{REQUIRED}JOBS_MAX=3\n").jobs_max == 7


def test_an_empty_value_is_the_default() -> None:
    assert with_env_file(f"{REQUIRED}JOBS_MAX=\nDATABASE_URL=\n").jobs_max == 20


def test_a_database_of_ones_own_goes_before_the_data_folder() -> None:
    settings = with_env_file(f"{REQUIRED}DATABASE_URL=sqlite+aiosqlite:///x.db\n")
    assert settings.database == "sqlite+aiosqlite:///x.db"


@pytest.mark.parametrize("ending", ["\n", "\r\n", " "])
def test_secrets_lose_the_line_break_of_the_file_they_came_from(
    monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", TOKEN + ending)
    monkeypatch.setenv("SEGMIND_API_KEY", KEY + ending)
    assert Settings.load().secrets == [TOKEN, KEY]


def test_a_byte_order_mark_is_no_part_of_a_name() -> None:
    assert with_env_file("\ufeff" + REQUIRED).secrets == [TOKEN, KEY]


def test_secrets_are_not_shown_by_their_settings() -> None:
    shown = repr(with_env_file(REQUIRED))
    assert TOKEN not in shown
    assert KEY not in shown


def test_the_example_names_exactly_the_settings_with_their_defaults() -> None:
    lines = [line.removeprefix("#") for line in EXAMPLE.read_text("utf-8").splitlines()]
    example = dict(line.split("=", 1) for line in lines if line.split("=")[0].isupper())
    assert {name.lower() for name in example} == Settings.model_fields.keys()

    everything = "\n".join(f"{name}={value}" for name, value in example.items() if value)
    assert with_env_file(everything + "\n" + REQUIRED) == with_env_file(REQUIRED)


# --- What is refused ---


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("", "DISCORD_TOKEN is not set: copy .env.example to .env and fill it in."),
        (f"DISCORD_TOKEN={TOKEN}", "SEGMIND_API_KEY is not set"),
        (f"DISCORD_TOKEN=\nSEGMIND_API_KEY={KEY}", "DISCORD_TOKEN is not set"),
        (f"{REQUIRED}HTTP_BINDS=s3cret", "HTTP_BINDS is no setting of Dailies"),
        (f"{REQUIRED}SEGMIND_API_KEY='s3cret key'", "SEGMIND_API_KEY is wrong: must be one word"),
        (f"{REQUIRED}DISCORD_TOKEN=s3crét", "DISCORD_TOKEN is wrong: must be one word"),
        (f"{REQUIRED}DISCORD_TOKEN=' '", "DISCORD_TOKEN is wrong: must be one word"),
        (f"{REQUIRED}JOBS_MAX=s3cret", "JOBS_MAX is wrong: it must be a whole number."),
        (f"{REQUIRED}JOBS_MAX=0", "JOBS_MAX is wrong: it must be at least 1."),
        (f"{REQUIRED}PRICE_MARKUP=nan", "PRICE_MARKUP is wrong: Input should be a finite number"),
        (f"{REQUIRED}PRICE_MARKUP=0", "PRICE_MARKUP is wrong: it must be more than 0."),
        (f"{REQUIRED}DEFAULT_GUILD_CREDITS=-1", "DEFAULT_GUILD_CREDITS is wrong"),
        (f"{REQUIRED}LOG_LEVEL=s3cret", "LOG_LEVEL is wrong"),
        (f"{REQUIRED}DATABASE_URL=postgres://s3cret", "DATABASE_URL is wrong: must begin with"),
        (f"{REQUIRED}HTTP_BIND=8080", "HTTP_BIND is wrong: must be host:port"),
        (f"{REQUIRED}HTTP_BIND=127.0.0.1:65536", "HTTP_BIND is wrong: must be host:port"),
        (f"{REQUIRED}HTTP_BIND=127.0.0.1:-1", "HTTP_BIND is wrong: must be host:port"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_setting(lines: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        with_env_file(lines)
    assert str(refused.value).startswith(sentence)
    assert str(refused.value).count("\n") == 0
    for value in ("s3cr", TOKEN, KEY):
        assert value not in str(refused.value)


@pytest.mark.parametrize("name", ["SEGMIND_KEY", "DISCORD_BOT_TOKEN", "wavespeed_key"])
def test_a_mistyped_name_in_the_environment_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "s3cret")
    with pytest.raises(SettingsError, match=f"^{name}(?i: is no setting of Dailies)"):
        with_env_file(REQUIRED)


def test_other_programs_names_in_the_environment_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY_OF_SOMEBODY", "s3cret")
    assert with_env_file(REQUIRED).jobs_max == 20


def test_a_file_in_another_encoding_is_named() -> None:
    Path(".env").write_bytes(REQUIRED.encode("utf-16"))
    with pytest.raises(SettingsError, match=r"^\.env is not UTF-8 text"):
        Settings.load()


@pytest.mark.parametrize(
    "address",
    [
        "http://api.segmind.com",
        "http://127.0.0.2:8090",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1@evil.example",
        "ftp://127.0.0.1",
        "https://",
        "https://host:s3cret",
        "http://127.0.0.1:65536",
        "https://exa℀mple.com",
        "https://[::1",
        "api.segmind.com",
    ],
)
def test_addresses_are_https_or_loopback(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^SEGMIND_BASE_URL is wrong: must be an https add"):
        with_env_file(f"{REQUIRED}SEGMIND_BASE_URL={address}\n")


# --- The loopback origins ---


def test_no_loopback_origin_is_open_by_default() -> None:
    assert with_env_file(REQUIRED).loopback_origins == frozenset()


@pytest.mark.parametrize(
    "name", ["DISCORD_API_URL", "SEGMIND_BASE_URL", "SEGMIND_UPLOAD_URL", "SEGMIND_HISTORY_URL"]
)
def test_each_address_on_loopback_opens_its_own_origin(name: str) -> None:
    settings = with_env_file(f"{REQUIRED}{name}=http://127.0.0.1:8090/some/path/\n")
    assert settings.loopback_origins == {"http://127.0.0.1:8090"}


def test_exactly_the_named_origins_are_open() -> None:
    settings = with_env_file(
        f"{REQUIRED}DISCORD_API_URL=http://localhost:1/api/v10\n"
        "SEGMIND_BASE_URL=http://[::1]:2/segmind\n"
        "SEGMIND_UPLOAD_URL=http://localhost:1/upload-asset\n"
        "SEGMIND_HISTORY_URL=https://127.0.0.1:3/request-history\n"
    )
    assert settings.loopback_origins == {"http://localhost:1", "http://[::1]:2"}
