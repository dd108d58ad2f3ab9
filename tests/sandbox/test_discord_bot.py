"""A real discord.py client on the sandbox's wire, and the members that use it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import discord
import pytest
import yarl
from discord import app_commands
from PIL import Image

from sandbox.server import BOOKS, EMULATOR, GATEWAY, Config, Running, serve


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Running]:
    running = await serve(Config(tmp_path, port=0))
    yield running
    await running.close()


_FILE = io.BytesIO()
Image.new("RGB", (2, 1)).save(_FILE, "PNG")
PICTURE = _FILE.getvalue()


class Buttons(discord.ui.View):
    """What the bot puts under its answers."""

    def __init__(self) -> None:
        super().__init__(timeout=None)

    @discord.ui.button(label="Whisper", custom_id="whisper")
    async def whisper(self, interaction: discord.Interaction, _: discord.ui.Button[Any]) -> None:
        await interaction.response.send_message("a secret", ephemeral=True)
        await interaction.followup.send("another", ephemeral=True)

    @discord.ui.button(label="Why", custom_id="why")
    async def why(self, interaction: discord.Interaction, _: discord.ui.Button[Any]) -> None:
        await interaction.response.send_modal(Why())


class Why(discord.ui.Modal, title="Why?"):
    reason: discord.ui.TextInput[Any] = discord.ui.TextInput(label="Reason", custom_id="reason")

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.edit_message(content=f"because {self.reason.value}")


class Bot(discord.Client):
    """A small bot; `seen` is what its callbacks noted."""

    def __init__(self) -> None:
        super().__init__(
            intents=discord.Intents(guilds=True),
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=0.1,
        )
        self.tree = app_commands.CommandTree(self)
        self.seen: list[Any] = []
        self.late: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        for callback in (self.video, self.slow, self.huge):
            self.tree.add_command(
                app_commands.Command(name=callback.__name__, description="x", callback=callback)
            )

    async def setup_hook(self) -> None:
        await self.tree.sync()

    async def on_resumed(self) -> None:
        self.seen.append("resumed")

    async def video(
        self, interaction: discord.Interaction, prompt: str, image: discord.Attachment | None = None
    ) -> None:
        await interaction.response.defer()
        if image is not None:
            self.seen.append((image.filename, image.width, await image.read()))
        embed = discord.Embed(title=prompt)
        placeholder = await interaction.edit_original_response(embed=embed, view=Buttons())
        channel = self.get_partial_messageable(placeholder.channel.id)
        for _ in range(2):
            message = await channel.send(
                f"done {interaction.user.mention}",
                file=discord.File(io.BytesIO(b"0123456789"), "clip.mp4"),
                nonce="job-1",
                reference=placeholder.to_reference(fail_if_not_exists=False),
                allowed_mentions=discord.AllowedMentions(users=[interaction.user]),
            )
            self.seen.append(message.id)
        await channel.get_partial_message(placeholder.id).edit(content="posted")
        self.seen.append([message.id async for message in channel.history()])

    async def slow(self, interaction: discord.Interaction) -> None:
        await asyncio.sleep(3.1)
        try:
            await interaction.response.defer()
        except discord.NotFound as error:
            self.late.set_result(error.code)

    async def huge(self, interaction: discord.Interaction) -> None:
        file = discord.File(io.BytesIO(b"x" * (interaction.filesize_limit + 1)), "big.mp4")
        try:
            await interaction.response.send_message(file=file)
        except discord.HTTPException as error:
            self.seen.append((error.status, error.code))
        await interaction.response.send_message("too big")


@pytest.fixture
async def bot(sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bot]:
    address = yarl.URL(f"{sandbox.url.replace('http', 'ws')}/gateway")
    monkeypatch.setattr("discord.http.Route.BASE", f"{sandbox.url}/api/v10")
    monkeypatch.setattr("discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY", address)
    async with Bot() as client:
        running = asyncio.create_task(client.start(sandbox.app[EMULATOR].token))
        async with asyncio.timeout(5):
            await sandbox.commands_registered()
        yield client
    await running


class Member:
    """A member in a channel: acts, and sees events."""

    def __init__(self, http: aiohttp.ClientSession, name: str, channel: str = "general") -> None:
        self._http = http
        self._here = {"member": name, "channel": channel}
        self.seen: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    async def act(self, **body: Any) -> str:
        """Do something; return the interaction's id."""
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("payload_json", json.dumps(self._here | body))
        form.add_field("files[0]", PICTURE, filename="a fox.png")
        async with self._http.post("/sandbox/interactions", data=form) as answer:
            assert answer.status == 201, await answer.text()
            return str((await answer.json())["interaction_id"])

    async def sees(self, test: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait for an event."""
        async with asyncio.timeout(5):
            while True:
                for event in self.seen:
                    if test(event):
                        return event
                await asyncio.sleep(0.01)

    async def _read(self) -> None:
        async with self._http.get("/sandbox/events", params=self._here) as events:
            async for line in events.content:
                if line.startswith(b"data: "):
                    self.seen.append(json.loads(line[6:]))

    def leave(self) -> None:
        self._reading.cancel()


Join = Callable[[str], Awaitable[Member]]


@pytest.fixture
async def members(sandbox: Running) -> AsyncIterator[Join]:
    present: list[Member] = []
    async with aiohttp.ClientSession(sandbox.url) as http:

        async def join(name: str) -> Member:
            present.append(Member(http, name))
            await present[-1].sees(lambda event: event["event"] == "ready")
            return present[-1]

        yield join
        for member in present:
            member.leave()


def says(content: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event.get("message", {}).get("content") == content


async def test_a_clip_from_slash_to_video(sandbox: Running, bot: Bot, members: Join) -> None:
    alice = await members("alice")
    options = {"prompt": "a fox", "image": {"file": 0}}
    interaction_id = await alice.act(type="command", command="video", options=options)
    await alice.sees(says("posted"))
    events = [event for event in alice.seen if event["event"] in ("create", "update")]
    placeholder, posted = events[0]["message"], events[2]["message"]
    assert [event["interaction_id"] for event in events] == [interaction_id] * 2 + [None] * 2
    assert [event["message"]["flags"] for event in events] == [128, 0, 0, 0]
    assert placeholder["interaction_metadata"]["id"] == interaction_id
    assert events[1]["message"]["embeds"][0]["title"] == "a fox"
    assert posted["message_reference"]["message_id"] == placeholder["id"]
    assert [user["username"] for user in posted["mentions"]] == ["alice"]
    assert [event["message"]["id"] for event in events[1::2]] == [placeholder["id"]] * 2
    image, first, second, history = bot.seen
    assert image[:2] == ("a_fox.png", 2)
    assert first == second == int(posted["id"])
    assert history == [first, int(placeholder["id"])]
    books = sandbox.app[BOOKS].posts
    assert [(post.nonce, post.attachments) for post in books] == [
        (None, []),
        ("job-1", ["clip.mp4"]),
    ]


async def test_ephemeral_answers_reach_their_member_only(bot: Bot, members: Join) -> None:
    alice, bob = await members("alice"), await members("bob")
    await alice.act(type="command", command="video", options={"prompt": "x"})
    message = (await bob.sees(says("posted")))["message"]["id"]
    await alice.act(type="component", message=message, custom_id="whisper")
    event = await alice.sees(says("a secret"))
    assert event["ephemeral"]
    assert event["message"]["flags"] == 64
    await alice.sees(says("another"))
    late = await members("bob")
    assert not any(event.get("ephemeral") for event in bob.seen + late.seen)
    assert sum(event.get("history", False) for event in late.seen) == 2
    assert bot.is_ready()


async def test_a_modal_opens_and_edits_its_message(bot: Bot, members: Join) -> None:
    alice = await members("alice")
    await alice.act(type="command", command="video", options={"prompt": "x"})
    message = (await alice.sees(says("posted")))["message"]["id"]
    opener = await alice.act(type="component", message=message, custom_id="why")
    event = await alice.sees(lambda event: event["event"] == "modal")
    assert (event["interaction_id"], event["modal"]["title"]) == (opener, "Why?")
    answer = await alice.act(type="modal", interaction=opener, fields={"reason": "fun"})
    edited = await alice.sees(says("because fun"))
    assert (edited["interaction_id"], edited["message"]["id"]) == (answer, message)
    assert bot.is_ready()


async def test_a_late_answer_is_unknown(bot: Bot, members: Join) -> None:
    alice, bob = await members("alice"), await members("bob")
    interaction_id = await alice.act(type="command", command="slow")
    event = await alice.sees(lambda event: event["event"] == "failed")
    assert event["interaction_id"] == interaction_id
    assert await asyncio.wait_for(bot.late, 2) == 10062
    assert not any(event["event"] == "failed" for event in bob.seen)


async def test_a_file_over_the_limit_consumes_no_answer(bot: Bot, members: Join) -> None:
    alice = await members("alice")
    await alice.act(type="command", command="huge")
    await alice.sees(says("too big"))
    assert bot.seen == [(413, 40005)]


async def test_an_interaction_survives_a_cut_socket(
    sandbox: Running, bot: Bot, members: Join
) -> None:
    alice = await members("alice")
    sandbox.app[GATEWAY].cut()
    await alice.act(type="command", command="video", options={"prompt": "x"})
    await alice.sees(says("posted"))
    assert bot.seen[0] == "resumed"
    assert len(sandbox.app[BOOKS].posts) == 2


async def test_a_wrong_token_cannot_log_in(
    sandbox: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("discord.http.Route.BASE", f"{sandbox.url}/api/v10")
    async with Bot() as client:
        with pytest.raises(discord.LoginFailure):
            await client.start("wrong")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"type": "command", "command": "nope"}, 404, "no_command"),
        ({"type": "command", "command": "video"}, 400, "invalid"),
        ({"type": "command", "command": "video", "options": {"prompt": 5}}, 400, "invalid"),
        ({"type": "command", "command": "video", "options": {"nope": "x"}}, 400, "invalid"),
        ({"type": "command", "command": "video", "channel": "nope"}, 404, "not_found"),
        ({"type": "component", "message": "1", "custom_id": "x"}, 404, "not_found"),
        ({"type": "modal", "interaction": "1"}, 404, "not_found"),
        ({"type": "wish"}, 400, "invalid"),
        ([], 400, "invalid"),
    ],
)
async def test_what_a_client_would_not_send_is_refused(
    sandbox: Running, bot: Bot, body: Any, status: int, code: str
) -> None:
    async with (
        aiohttp.ClientSession(sandbox.url) as http,
        http.post("/sandbox/interactions", json=body) as answer,
    ):
        refusal = await answer.json()
        assert (answer.status, refusal["code"]) == (status, code)
        assert refusal["error"].endswith(".")
    assert bot.seen == []


async def test_only_visible_commands_are_offered(sandbox: Running, bot: Bot) -> None:
    bot.tree.clear_commands(guild=None)
    for_managers: app_commands.Command[Any, ..., None] = app_commands.Command(
        name="grant", description="x", callback=bot.slow
    )
    for_managers.default_permissions = discord.Permissions(manage_guild=True)
    bot.tree.add_command(for_managers)
    await bot.tree.sync()
    offered = {}
    async with aiohttp.ClientSession(sandbox.url) as http:
        for member in ("alice", "owner"):
            async with http.get("/sandbox/commands", params={"member": member}) as answer:
                offered[member] = [item["name"] for item in (await answer.json())["commands"]]
    assert offered == {"alice": [], "owner": ["grant"]}
