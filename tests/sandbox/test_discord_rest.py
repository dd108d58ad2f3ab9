"""Discord's REST API and CDN on the wire, and what they must refuse."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.discord.emulator import UPLOAD_LIMIT
from sandbox.server import BOOKS, EMULATOR, Config, Running, serve

VIDEO = {"name": "video", "description": "Make a clip", "options": []}


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Running]:
    running = await serve(Config(tmp_path, port=0))
    yield running
    await running.close()


@pytest.fixture
async def http(sandbox: Running) -> AsyncIterator[aiohttp.ClientSession]:
    token = {"Authorization": f"Bot {sandbox.app[EMULATOR].token}"}
    async with aiohttp.ClientSession(sandbox.url, headers=token) as session:
        yield session


class Api:
    """REST calls that return status and JSON."""

    def __init__(self, http: aiohttp.ClientSession, sandbox: Running) -> None:
        self.http = http
        self.emulator = sandbox.app[EMULATOR]
        self.bot = self.emulator.bot()["id"]
        self.place = self.emulator.members.place(None, None, None)
        self.channel = f"channels/{self.place.channel.id}/messages"

    async def __call__(self, method: str, path: str, **body: Any) -> tuple[int, Any]:
        async with self.http.request(method, f"/api/v10/{path}", **body) as answer:
            if answer.status == 204:
                return 204, None
            assert answer.headers["Content-Type"] == "application/json"
            return answer.status, await answer.json()

    async def interaction(self) -> Any:
        """Register /video, let alice use it, and return the interaction as the bot gets it."""
        await self("PUT", f"applications/{self.bot}/commands", json=[VIDEO])
        seen: list[Any] = []
        self.emulator.listen(lambda event, data: seen.append(self.emulator.render(event, data, 1)))
        await self.emulator.members.run_command(self.place, "video", {})
        return seen[-1]


@pytest.fixture
def api(http: aiohttp.ClientSession, sandbox: Running) -> Api:
    return Api(http, sandbox)


def callback(interaction: dict[str, Any]) -> str:
    return f"interactions/{interaction['id']}/{interaction['token']}/callback?with_response=1"


def form(data: bytes, name: str = "clip.mp4", **payload: Any) -> aiohttp.FormData:
    body = aiohttp.FormData(quote_fields=False)
    body.add_field("payload_json", json.dumps(payload))
    body.add_field("files[0]", data, filename=name, content_type="application/octet-stream")
    return body


@pytest.mark.parametrize("token", ["", "Bot ", "Bot wrong", "Bearer x"])
async def test_a_wrong_token_is_unauthorized(api: Api, token: str) -> None:
    answer = await api("GET", "users/@me", headers={"Authorization": token})
    assert answer == (401, {"message": "401: Unauthorized", "code": 0})


async def test_an_unknown_route_fails_loudly(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    answer = await api("POST", "channels/1/teleport")
    assert answer == (404, {"message": "404: Not Found", "code": 0})
    assert "POST /channels/1/teleport" in caplog.text


async def test_unknown_keys_are_dropped_and_logged(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="sandbox")
    status, message = await api("POST", api.channel, json={"content": "hi", "wish": 1, "tts": None})
    assert (status, message["content"]) == (200, "hi")
    assert "wish" in caplog.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"content": "x" * 2001}, 50035),
        ({"content": ""}, 50006),
        ([], 50006),
        (["x"], 50035),
        ({"content": "x", "embeds": "x"}, 50035),
        ({"content": "x", "message_reference": {"message_id": "x"}}, 50035),
        ({"content": "x", "nonce": "n" * 26}, 50035),
        ({"content": "x", "message_reference": {"message_id": "1"}}, 50035),
        ({"content": "x", "flags": 1 << 15, "components": [{"type": 10, "content": "x"}]}, 50035),
    ],
)
async def test_bad_messages_are_refused(sandbox: Running, api: Api, body: Any, code: int) -> None:
    status, error = await api("POST", api.channel, json=body)
    assert (status, error["code"]) == (400, code)
    assert sandbox.app[BOOKS].posts == []


async def test_an_edit_cannot_empty_a_message(api: Api) -> None:
    _, message = await api("POST", api.channel, json={"content": "x"})
    status, error = await api("PATCH", f"{api.channel}/{message['id']}", json={"content": None})
    assert (status, error["code"]) == (400, 50006)


async def test_a_channel_message_cannot_be_ephemeral(api: Api) -> None:
    _, message = await api("POST", api.channel, json={"content": "x", "flags": 64})
    assert message["flags"] == 0


async def test_a_reply_may_survive_its_target(api: Api) -> None:
    reference = {"message_id": "1", "fail_if_not_exists": False}
    body = {"content": "x", "message_reference": reference}
    status, message = await api("POST", api.channel, json=body)
    assert status == 200
    assert "message_reference" not in message


async def test_an_enforced_nonce_posts_once(sandbox: Running, api: Api) -> None:
    body = {"content": "once", "nonce": "job1", "enforce_nonce": True}
    _, first = await api("POST", api.channel, json=body)
    _, second = await api("POST", api.channel, json=body)
    _, other = await api("POST", api.channel, json=body | {"nonce": "job2"})
    assert first["id"] == second["id"] != other["id"]
    assert first["nonce"] == second["nonce"] == "job1"
    assert [post.nonce for post in sandbox.app[BOOKS].posts] == ["job1", "job2"]
    await api("DELETE", f"{api.channel}/{first['id']}")
    assert await api("POST", api.channel, json=body) == (
        404,
        {"message": "Unknown Message", "code": 10008},
    )
    assert [post.deleted for post in sandbox.app[BOOKS].posts] == [True, False]


async def test_a_file_over_the_limit_is_refused(api: Api) -> None:
    body = form(b"x" * (UPLOAD_LIMIT + 1), content="too much")
    status, error = await api("POST", api.channel, data=body)
    assert (status, error["code"]) == (413, 40005)
    status, message = await api("POST", api.channel, data=form(b"x" * UPLOAD_LIMIT))
    assert (status, message["attachments"][0]["size"]) == (200, UPLOAD_LIMIT)


async def test_no_files_without_permission(api: Api) -> None:
    guild = api.emulator.model.guilds[api.place.guild.id]
    for role in guild.roles.values():
        role.permissions &= ~(1 << 15)
    status, error = await api("POST", api.channel, data=form(b"x"))
    assert (status, error["code"]) == (403, 50013)


async def test_attachments_are_served_signed_and_by_range(api: Api) -> None:
    _, message = await api("POST", api.channel, data=form(b"0123456789", "my clip.mp4"))
    url = message["attachments"][0]["url"]
    assert message["attachments"][0]["filename"] == "my_clip.mp4"
    async with api.http.get(url) as whole:
        assert await whole.read() == b"0123456789"
        assert whole.headers["Content-Type"] == "video/mp4"
        assert whole.headers["X-Content-Type-Options"] == "nosniff"
    async with api.http.get(url, headers={"Range": "bytes=2-4"}) as part:
        assert (part.status, await part.read()) == (206, b"234")


@pytest.mark.parametrize(("old", "new"), [("hm=", "hm=0"), ("ex=", "ex=f"), ("my", "mY")])
async def test_forged_addresses_are_gone(api: Api, old: str, new: str) -> None:
    _, message = await api("POST", api.channel, data=form(b"x", "my.mp4"))
    url = message["attachments"][0]["url"].replace(old, new)
    async with api.http.get(url) as answer:
        assert (answer.status, await answer.text()) == (
            404,
            "This content is no longer available.",
        )


async def test_addresses_expire(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.discord.cdn.LIFETIME_S", -1)
    _, message = await api("POST", api.channel, data=form(b"x"))
    async with api.http.get(message["attachments"][0]["url"]) as answer:
        assert answer.status == 404


async def test_files_of_deleted_messages_are_gone(api: Api) -> None:
    _, message = await api("POST", api.channel, data=form(b"x"))
    await api("DELETE", f"{api.channel}/{message['id']}")
    async with api.http.get(message["attachments"][0]["url"]) as answer:
        assert answer.status == 404


async def test_uploaded_pages_cannot_run(api: Api) -> None:
    _, message = await api("POST", api.channel, data=form(b"<script>", "x.html"))
    async with api.http.get(message["attachments"][0]["url"]) as answer:
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["Content-Security-Policy"]


async def test_interactions_carry_what_discord_sends(api: Api) -> None:
    interaction = await api.interaction()
    guild_id = str(api.place.guild.id)
    assert interaction["attachment_size_limit"] == UPLOAD_LIMIT
    assert interaction["authorizing_integration_owners"] == {"0": guild_id}
    assert interaction["context"] == 0
    assert interaction["entitlements"] == []
    assert interaction["guild_locale"] == "en-US"
    assert int(interaction["member"]["permissions"]) & 1 << 11
    assert int(interaction["app_permissions"]) & 1 << 15


async def test_a_first_response_comes_first_and_once(api: Api) -> None:
    interaction = await api.interaction()
    webhook = f"webhooks/{api.bot}/{interaction['token']}"
    status, error = await api("PATCH", f"{webhook}/messages/@original", json={"content": "x"})
    assert (status, error["code"]) == (404, 10015)
    status, error = await api("POST", webhook, json={"content": "x"})
    assert (status, error["code"]) == (404, 10015)
    status, answer = await api("POST", callback(interaction), json={"type": 5})
    assert status == 200
    assert answer["interaction"]["response_message_loading"] is True
    status, error = await api("POST", callback(interaction), json={"type": 5})
    assert (status, error["code"]) == (400, 40060)
    status, message = await api("PATCH", f"{webhook}/messages/%40original", json={"content": "x"})
    assert (status, message["content"], message["flags"]) == (200, "x", 0)
    assert message["id"] == answer["interaction"]["response_message_id"]


@pytest.mark.parametrize(
    "body",
    [
        {"type": 5, "data": {"content": "x"}},
        {"type": 6},
        {"type": 8, "data": {"choices": []}},
        {"data": {}},
    ],
)
async def test_wrong_callbacks_consume_nothing(api: Api, body: dict[str, Any]) -> None:
    interaction = await api.interaction()
    status, error = await api("POST", callback(interaction), json=body)
    assert (status, error["code"]) == (400, 50035)
    right = aiohttp.FormData({"payload_json": '{"type": 4, "data": {"content": "hi"}}'})
    status, _ = await api("POST", callback(interaction).partition("?")[0], data=right)
    assert status == 204


async def test_a_token_lives_fifteen_minutes(api: Api) -> None:
    interaction = await api.interaction()
    await api("POST", callback(interaction), json={"type": 5})
    api.emulator.model.interactions[int(interaction["id"])].expires_at = "2025-01-01"
    path = f"webhooks/{api.bot}/{interaction['token']}/messages/@original"
    status, error = await api("PATCH", path, json={"content": "x"})
    assert (status, error["code"]) == (401, 50027)


async def test_interaction_tokens_stay_out_of_the_log(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="sandbox")
    interaction = await api.interaction()
    await api("POST", callback(interaction), json={"type": 99})
    assert "/callback refused" in caplog.text
    assert interaction["token"] not in caplog.text


def option(**fields: Any) -> dict[str, Any]:
    return {"type": 3, "name": "a", "description": "x"} | fields


@pytest.mark.parametrize(
    "commands",
    [
        [VIDEO | {"name": "Video"}],
        [VIDEO | {"name": "v" * 33}],
        [VIDEO | {"description": ""}],
        [{"name": "video"}],
        [VIDEO, VIDEO],
        [VIDEO | {"options": [option(name="Prompt")]}],
        [VIDEO | {"options": [option(), option(name="b", required=True)]}],
        [VIDEO | {"options": [option(autocomplete=True, choices=[{"name": "a", "value": "a"}])]}],
        [VIDEO | {"options": [option(name=f"o{n}") for n in range(26)]}],
        [VIDEO | {"name": f"v{n}"} for n in range(101)],
    ],
)
async def test_bad_commands_are_refused(api: Api, commands: list[dict[str, Any]]) -> None:
    status, error = await api("PUT", f"applications/{api.bot}/commands", json=commands)
    assert (status, error["code"]) in {(400, 50035), (400, 30032)}
    assert await api("GET", f"applications/{api.bot}/commands") == (200, [])


async def test_commands_are_registered_in_full(api: Api) -> None:
    path = f"applications/{api.bot}/commands"
    await api("PUT", path, json=[VIDEO | {"integration_types": [], "nsfw": False}])
    status, created = await api("POST", path, json=VIDEO | {"name": "budget"})
    _, listed = await api("GET", path)
    assert status == 201
    assert [item["name"] for item in listed] == ["video", "budget"]
    assert listed[1] == created
    assert (created["nsfw"], created["contexts"], created["integration_types"]) == (
        False,
        None,
        [0],
    )


async def test_a_field_that_is_not_emulated_is_dropped_loudly(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await api("POST", api.channel, json={"content": "x", "surprise": 1}))[0] == 200
    assert [(r.levelname, "surprise" in r.message) for r in caplog.records] == [("ERROR", True)]


async def test_the_page_may_load_its_own_files_only(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "Content-Security-Policy" not in await answer.text()
    sources = {word for rule in policy.split(";") for word in rule.split()[1:]}
    assert sources == {"'none'", "'self'"}


async def test_a_second_start_has_the_same_places_but_new_messages(tmp_path: Path) -> None:
    worlds, messages = [], []
    for number in range(2):
        running = await serve(Config(tmp_path / str(number), port=0))
        worlds.append(running.app[EMULATOR].members.describe())
        async with aiohttp.ClientSession(running.url) as http:
            api = Api(http, running)
            token = {"Authorization": f"Bot {api.emulator.token}"}
            _, message = await api("POST", api.channel, json={"content": "x"}, headers=token)
            messages.append(message["id"])
        await running.close()
    assert worlds[0] == worlds[1]
    assert messages[0] < messages[1]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({}, 409),
    ],
)
async def test_other_sites_are_kept_out(
    http: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    body = {"type": "command", "command": "video"}
    async with http.post("/sandbox/interactions", json=body, headers=headers) as answer:
        assert answer.status == status
        if status == 409:
            assert (await answer.json())["code"] == "no_bot"


async def test_closing_does_not_wait_for_listeners(tmp_path: Path) -> None:
    running = await serve(Config(tmp_path, port=0))
    async with aiohttp.ClientSession(running.url) as http, http.get("/sandbox/events") as events:
        assert json.loads((await events.content.readline())[6:]) == {"event": "ready"}
        async with asyncio.timeout(2):
            await running.close()
