"""How a job speaks in its channel: DiscordMessenger against SimCord's channel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import discord
import pytest

from core.errors import ChannelGone, ClipTooLarge, DeliveryFailed, PostRefused
from core.jobs import Job, State

if TYPE_CHECKING:
    from pathlib import Path

    from simcord import ChannelHandle, Env, MemberActor

    from cogs._delivery import DiscordMessenger
    from tests.cogs.conftest import Order, SetPermissions

Post = Callable[[Job], Awaitable[int]]
Speak = Callable[[Job], Awaitable[list[discord.Message]]]

MARKUP = "**a** _b_ ~~c~~ ||d|| `e` [f](https://a.example) [g](https://b.example) <#1> \\"
LITERALLY = (
    r"\*\*a\*\* \_b\_ \~\~c\~\~ \|\|d\|\| \`e\` "
    r"\[f](https\://a.example) \[g](https\://b.example) \<#1> \\"
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"\0\0\0\x18ftypmp42 and so on")
    return file


@pytest.fixture
def post(messenger: DiscordMessenger, clip: Path) -> Post:
    """Return what posts a job's clip."""
    return lambda job: messenger.post(job, clip)


@pytest.fixture
def speak(messenger: DiscordMessenger, post: Post, channel: ChannelHandle) -> Speak:
    """Return what sends both messages that a job may send besides its placeholder."""

    async def send(job: Job) -> list[discord.Message]:
        await post(job)
        await messenger.tell(failed(replace(job, placeholder_id=None)))
        return channel.history()[-2:]

    return send


def failed(job: Job) -> Job:
    return replace(job, state=State.FAILED, captured=0, error="BadClip", error_detail="no sound")


async def test_a_clip_is_posted_as_a_reply_that_mentions_only_the_requester(
    order: Order,
    post: Post,
    clip: Path,
    alice: MemberActor,
    channel: ChannelHandle,
    simcord_env: Env,
) -> None:
    job = await order("a red fox, running!")
    message_id = await post(job)
    [_, message] = channel.history()
    assert message.id == message_id
    assert [mention.id for mention in message.mentions] == [alice.id]
    assert message.reference is not None
    assert message.reference.message_id == job.placeholder_id
    [file] = message.attachments
    assert file.filename == f"a-red-fox-running-{job.id[:8]}.mp4"
    assert await simcord_env.bot.http.get_from_cdn(file.url) == clip.read_bytes()
    assert message.content.splitlines() == [
        f"{alice.mention} your video is ready.",
        "> a red fox, running!",
        "-# luma-ray-3-2 · 16:9 · 5s · 720p · 132 credits (US$1.32) · made by AI",
    ]


async def test_a_post_can_be_repeated_safely(order: Order, post: Post, simcord_env: Env) -> None:
    job = await order()
    await post(job)
    body = simcord_env.http_requests[-1].json
    assert isinstance(body, dict)
    assert (body["nonce"], body["enforce_nonce"]) == (job.id, True)


async def test_a_prompt_mentions_nobody(
    order: Order,
    speak: Speak,
    alice: MemberActor,
    bob: MemberActor,
    set_permissions: SetPermissions,
) -> None:
    set_permissions(mention_everyone=True)
    for message in await speak(await order(f"@everyone @here {bob.mention} look")):
        assert not message.mention_everyone
        assert [mention.id for mention in message.mentions] == [alice.id]


async def test_discord_is_asked_to_mention_only_the_requester_whatever_the_text(
    order: Order, speak: Speak, alice: MemberActor, simcord_env: Env
) -> None:
    await speak(await order())
    for request in simcord_env.http_requests[-2:]:
        assert isinstance(request.json, dict)
        assert request.json["allowed_mentions"]["parse"] == []
        assert request.json["allowed_mentions"]["users"] == [alice.id]


async def test_the_markdown_of_a_prompt_is_shown_not_rendered(
    order: Order, post: Post, channel: ChannelHandle
) -> None:
    await post(await order(MARKUP))
    [placeholder, message] = channel.history()
    assert message.content.splitlines()[1] == f"> {LITERALLY}"
    assert placeholder.embeds[0].description == f"> {LITERALLY}"


async def test_a_clip_with_the_longest_prompt_of_nothing_but_markup_is_posted(
    order: Order, speak: Speak
) -> None:
    for message in await speak(await order("*" * 1500)):
        assert len(message.content) < 2000


async def test_a_clip_is_posted_even_if_the_placeholder_was_deleted(
    order: Order,
    post: Post,
    channel: ChannelHandle,
    moderator: MemberActor,
    simcord_env: Env,
) -> None:
    job = await order()
    await moderator.delete(channel.history()[0])
    message_id = await post(job)
    assert [message.id for message in channel.history()] == [message_id]
    body = simcord_env.http_requests[-1].json
    assert isinstance(body, dict)  # SimCord takes any reference; Discord wants this said
    assert body["message_reference"]["fail_if_not_exists"] is False


async def test_the_post_of_a_job_is_found_among_others(
    order: Order,
    messenger: DiscordMessenger,
    post: Post,
    alice: MemberActor,
    channel: ChannelHandle,
) -> None:
    earlier, job = await order(), await order()
    await post(earlier)
    assert await messenger.find_post(job) is None
    await alice.send(channel, "mine", attachments=[(f"fake-{job.id[:8]}.mp4", b"x")])
    assert await messenger.find_post(job) is None
    message_id = await post(job)
    assert await messenger.find_post(job) == message_id


async def test_a_post_is_found_whatever_our_clock_says(
    order: Order, messenger: DiscordMessenger, post: Post
) -> None:
    job = await order()
    message_id = await post(job)
    tomorrow = job.created_at + 86_400
    assert await messenger.find_post(replace(job, posting_at=tomorrow)) == message_id
    unplaced = replace(job, placeholder_id=None, posting_at=tomorrow)
    assert await messenger.find_post(unplaced) == message_id


async def test_a_post_is_found_below_pages_of_talk(
    order: Order,
    messenger: DiscordMessenger,
    post: Post,
    channel: ChannelHandle,
    simcord_env: Env,
) -> None:
    job = await order()
    message_id = await post(job)
    for _ in range(700):
        simcord_env.backend.create_message(channel.id, job.member_id, content="talk")
    assert await messenger.find_post(job) == message_id


async def test_a_search_that_was_not_finished_ends_the_job(
    order: Order,
    messenger: DiscordMessenger,
    post: Post,
    channel: ChannelHandle,
    alice: MemberActor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cogs._delivery.SEARCH_MAX", 3)
    job = await order()
    await alice.send(channel, "one")
    assert await messenger.find_post(job) is None
    message_id = await post(job)
    assert await messenger.find_post(job) == message_id
    for words in ("two", "three", "four"):
        await alice.send(channel, words)
    with pytest.raises(PostRefused):
        await messenger.find_post(job)


async def test_a_history_that_the_bot_may_not_read_ends_the_job(
    order: Order, messenger: DiscordMessenger, post: Post, set_permissions: SetPermissions
) -> None:
    job = await order()
    await post(job)
    set_permissions(read_message_history=False)
    with pytest.raises(ChannelGone):
        await messenger.find_post(job)


async def test_a_deleted_post_is_not_found(
    order: Order,
    messenger: DiscordMessenger,
    post: Post,
    channel: ChannelHandle,
    moderator: MemberActor,
) -> None:
    job = await order()
    await post(job)
    await moderator.delete(channel.history()[-1])
    assert await messenger.find_post(job) is None


async def test_the_placeholder_tells_why_a_job_failed(
    order: Order, messenger: DiscordMessenger, channel: ChannelHandle
) -> None:
    await messenger.tell(failed(await order()))
    [message] = channel.history()
    [card] = message.embeds
    assert card.title == "No video this time"
    assert "no playable video: no sound. Nothing was charged" in str(card.description)
    assert {field.name for field in card.fields} == {"Format", "Price"}
    assert message.components == []


@pytest.mark.parametrize(
    ("captured", "cost", "words"),
    [
        (0, None, "the held credits are back"),
        (100, 100, "had already billed it: 100 credits (US$1.00) were charged"),
        (132, None, "did not say what it charges, so the whole price was kept"),
    ],
)
async def test_the_placeholder_tells_what_a_cancelled_job_cost(
    order: Order,
    messenger: DiscordMessenger,
    channel: ChannelHandle,
    captured: int,
    cost: int | None,
    words: str,
) -> None:
    job = await order()
    await messenger.tell(replace(job, state=State.CANCELLED, captured=captured, cost=cost))
    [card] = channel.history()[0].embeds
    assert words in str(card.description)


async def test_the_placeholder_links_to_the_clip_when_done(
    order: Order, messenger: DiscordMessenger, post: Post, channel: ChannelHandle
) -> None:
    job = await order()
    message_id = await post(job)
    await messenger.tell(replace(job, state=State.DONE, captured=100, message_id=message_id))
    [placeholder, message] = channel.history()
    [card] = placeholder.embeds
    assert card.title == "Done"
    assert message.jump_url in str(card.description)
    assert {field.name: field.value for field in card.fields}["Price"] == "100 credits (US$1.00)"


async def test_a_deleted_placeholder_is_replaced_by_a_message_to_the_requester(
    order: Order,
    messenger: DiscordMessenger,
    channel: ChannelHandle,
    alice: MemberActor,
    moderator: MemberActor,
) -> None:
    job = await order()
    await moderator.delete(channel.history()[0])
    await messenger.tell(failed(job))
    [message] = channel.history()
    assert [mention.id for mention in message.mentions] == [alice.id]
    assert message.content.startswith(f"{alice.mention} about “a red fox”: The video service")


async def test_a_placeholder_that_cannot_be_edited_is_replaced_by_a_message_too(
    order: Order, messenger: DiscordMessenger, channel: ChannelHandle, simcord_env: Env
) -> None:
    """A thread that was archived meanwhile: edits are refused, a new message opens it again."""
    job = await order()
    simcord_env.inject_error("PATCH", "/channels/*", status=400, code=50083)
    await messenger.tell(failed(job))
    assert "about “a red fox”" in channel.history()[-1].content


async def test_a_posted_clip_needs_no_word_beside_it(
    order: Order,
    messenger: DiscordMessenger,
    post: Post,
    channel: ChannelHandle,
    moderator: MemberActor,
) -> None:
    job = await order()
    await moderator.delete(channel.history()[0])
    message_id = await post(job)
    await messenger.tell(replace(job, state=State.DONE, captured=132, message_id=message_id))
    assert len(channel.history()) == 1


async def test_progress_that_cannot_be_shown_stops_nothing(
    order: Order, messenger: DiscordMessenger, channel: ChannelHandle, simcord_env: Env
) -> None:
    job = await order()
    simcord_env.inject_error("PATCH", "/channels/*", status=500)
    await messenger.show(replace(job, state=State.GENERATING))
    assert channel.history()[0].embeds[0].title == "Queued"
    await messenger.show(replace(job, state=State.GENERATING))
    assert channel.history()[0].embeds[0].title == "Generating"
    simcord_env.backend.delete_channel(channel.id)
    await messenger.show(job)


async def test_a_deleted_channel_is_gone(
    order: Order,
    messenger: DiscordMessenger,
    post: Post,
    channel: ChannelHandle,
    simcord_env: Env,
) -> None:
    job = await order()
    simcord_env.backend.delete_channel(channel.id)
    with pytest.raises(ChannelGone):
        await post(job)
    with pytest.raises(ChannelGone):
        await messenger.find_post(job)
    with pytest.raises(ChannelGone):
        await messenger.tell(failed(job))


async def test_a_channel_that_the_bot_may_not_see_is_gone(
    order: Order,
    messenger: DiscordMessenger,
    post: Post,
    set_permissions: SetPermissions,
) -> None:
    job = await order()
    set_permissions(view_channel=False)
    with pytest.raises(ChannelGone):
        await post(job)
    with pytest.raises(ChannelGone):
        await messenger.tell(failed(job))


async def test_a_channel_that_the_bot_may_only_read_still_shows_the_end(
    order: Order,
    messenger: DiscordMessenger,
    post: Post,
    channel: ChannelHandle,
    set_permissions: SetPermissions,
) -> None:
    job = await order()
    set_permissions(send_messages=False)
    with pytest.raises(ChannelGone):
        await post(job)
    await messenger.tell(failed(job))
    assert channel.history()[0].embeds[0].title == "No video this time"
    with pytest.raises(ChannelGone):
        await messenger.tell(failed(replace(job, placeholder_id=None)))


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (413, 40005, ClipTooLarge),
        (400, 40005, ClipTooLarge),
        (429, 0, DeliveryFailed),
        (500, 0, DeliveryFailed),
        (503, 0, DeliveryFailed),
        (403, 50013, ChannelGone),
        (404, 10008, PostRefused),  # posted before, and deleted
        (400, 50035, PostRefused),
        (400, 50045, ClipTooLarge),
        (401, 40001, DeliveryFailed),
        (403, 0, DeliveryFailed),  # HTML of Cloudflare
        (404, 0, DeliveryFailed),  # HTML of a proxy
        (400, 0, DeliveryFailed),
        (403, 40333, DeliveryFailed),  # Cloudflare, as JSON
        (404, 10003, ChannelGone),
        (404, 10004, ChannelGone),
        (403, 50001, ChannelGone),
        (400, 50083, ChannelGone),
        (400, 160002, ChannelGone),
        (400, 160005, ChannelGone),
        (403, 240000, PostRefused),  # a filter's word on the message
    ],
)
async def test_discords_answer_to_a_post_says_whether_it_may_work_later(
    order: Order,
    post: Post,
    simcord_env: Env,
    status: int,
    code: int,
    verdict: type[Exception],
) -> None:
    job = await order()
    simcord_env.inject_error("POST", "/channels/*/messages", status=status, code=code)
    with pytest.raises(verdict):
        await post(job)
