"""`/video`, as a member types it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import discord
import pytest
from PIL import Image
from simcord import SetupError, assert_error

from core.errors import EmptyPrompt, GuildOnly, MissingRights, UnsupportedWish
from core.jobs import State
from core.ledger import Balance

if TYPE_CHECKING:
    from pathlib import Path

    from simcord import ChannelHandle, Env, GuildHandle, InteractionResult, MemberActor

    from cogs._bot import Services
    from tests.cogs.conftest import AllJobs, DiscordCdn, Order, SetPermissions


def told(result: InteractionResult) -> str:
    """Return what an answer without a video says."""
    assert result.response is not None
    assert result.response.components == []
    [card] = result.response.embeds
    assert card.title == "No video this time"
    return str(card.description)


def picture(width: int, height: int) -> tuple[str, bytes]:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 80, 20)).save(file, "PNG")
    return "fox.png", file.getvalue()


async def test_an_order_is_stored_as_one_job_of_this_member_here(
    alice: MemberActor, channel: ChannelHandle, guild: GuildHandle, all_jobs: AllJobs
) -> None:
    await alice.slash(channel, "video", prompt="  a red\nfox ", aspect="9:16", duration=10)
    [job] = await all_jobs()
    assert (job.guild_id, job.channel_id, job.member_id) == (guild.id, channel.id, alice.id)
    assert job.request.model_dump() == {
        "prompt": "a red fox",
        "aspect": "9:16",
        "duration_s": 10,
        "resolution": "720p",
        "start_frame": None,
    }
    assert job.state is State.QUEUED


async def test_an_order_holds_its_price(
    order: Order, services: Services, guild: GuildHandle
) -> None:
    job = await order()
    assert job.hold == 132
    assert await services.budgets.of(guild.id) == Balance(available=168, held=132, spent=0)


async def test_the_placeholder_shows_state_price_and_countdown_to_all(
    alice: MemberActor, channel: ChannelHandle, all_jobs: AllJobs
) -> None:
    result = await alice.slash(channel, "video", prompt="a red fox")
    [job] = await all_jobs()
    assert result.response is not None
    [card] = result.response.embeds
    assert not result.ephemeral
    assert (card.title, card.description) == ("Queued", "> a red fox")
    assert {field.name: field.value for field in card.fields} == {
        "Format": "16:9 · 5s · 720p",
        "Price": "up to 132 credits (US$1.32)",
        "Usually ready": f"<t:{int(job.created_at) + 52}:R>",
    }
    assert result.response.components[0]["components"][0]["label"] == "Cancel"
    assert job.placeholder_id == result.response.id


async def test_a_job_is_due_as_soon_as_its_placeholder_stands(
    order: Order,
) -> None:
    job = await order()
    assert job.due_at == job.created_at


async def test_an_interaction_that_comes_twice_makes_one_job(
    simcord_env: Env, alice: MemberActor, channel: ChannelHandle, all_jobs: AllJobs
) -> None:
    result = await alice.slash(channel, "video", prompt="a red fox")
    [again] = [e[2] for e in simcord_env.backend.transcript if e[1] == "INTERACTION_CREATE"]
    simcord_env.backend.emit("INTERACTION_CREATE", again)
    await simcord_env.settle()
    assert len(await all_jobs()) == 1
    assert result.response is not None
    assert result.response.embeds[0].title == "Queued"


async def test_discord_offers_what_the_model_makes(
    simcord_env: Env, channel: ChannelHandle
) -> None:
    assert channel.guild is not None
    video = simcord_env.backend.find_command("video", channel.guild.id)
    assert video is not None
    options = {option["name"]: option for option in video["options"]}
    assert list(options) == ["prompt", "aspect", "duration", "image"]
    values = [choice["value"] for choice in options["aspect"]["choices"]]
    assert values == ["16:9", "9:16", "1:1", "4:3", "3:4", "21:9"]
    assert [choice["name"] for choice in options["duration"]["choices"]] == ["5s", "10s"]
    assert (options["prompt"]["min_length"], options["prompt"]["max_length"]) == (1, 1500)


async def test_an_aspect_that_is_no_choice_cannot_be_sent(
    alice: MemberActor, channel: ChannelHandle
) -> None:
    with pytest.raises(SetupError):
        await alice.slash(channel, "video", prompt="a red fox", aspect="2:1")


async def test_a_choice_that_the_model_lost_is_refused_naming_what_works(
    simcord_env: Env, alice: MemberActor, channel: ChannelHandle, all_jobs: AllJobs
) -> None:
    video = simcord_env.backend.find_command("video", None)
    assert video is not None
    [duration] = [option for option in video["options"] if option["name"] == "duration"]
    duration["choices"].append({"name": "60s", "value": 60})
    result = await alice.slash(channel, "video", prompt="a red fox", duration=60)
    assert "duration 60s (possible: 5s, 10s)" in told(result)
    assert await all_jobs() == []
    assert_error(simcord_env, UnsupportedWish)


async def test_an_image_becomes_the_start_frame_and_gives_its_shape(
    order: Order, tmp_path: Path
) -> None:
    job = await order(image=picture(300, 520))
    assert job.request.aspect == "9:16"
    assert job.request.start_frame is not None
    with Image.open(tmp_path / "frames" / job.request.start_frame) as frame:
        assert frame.format == "JPEG"
        assert abs(frame.width / frame.height - 9 / 16) < 0.01


async def test_a_named_aspect_wins_over_the_images(order: Order) -> None:
    job = await order(image=picture(300, 520), aspect="1:1")
    assert job.request.aspect == "1:1"


async def test_a_text_file_is_no_start_frame(
    alice: MemberActor,
    channel: ChannelHandle,
    all_jobs: AllJobs,
    services: Services,
    guild: GuildHandle,
) -> None:
    file = ("fox.png", b"I am a fox, honestly.")
    result = await alice.slash(channel, "video", prompt="a red fox", image=file)
    assert told(result).startswith("The image cannot be a start frame: ")
    assert await all_jobs() == []
    assert (await services.budgets.of(guild.id)).held == 0


async def test_an_image_over_the_cap_is_refused_unseen(
    alice: MemberActor, channel: ChannelHandle, cdn: DiscordCdn, all_jobs: AllJobs
) -> None:
    cdn.is_down = True
    file = ("fox.png", bytes(20_000_001))
    result = await alice.slash(channel, "video", prompt="a red fox", image=file)
    assert "it is larger than 20 MB" in told(result)
    assert await all_jobs() == []


async def test_an_image_that_discord_does_not_give_is_refused(
    alice: MemberActor, channel: ChannelHandle, cdn: DiscordCdn, all_jobs: AllJobs
) -> None:
    cdn.is_down = True
    result = await alice.slash(channel, "video", prompt="a red fox", image=picture(30, 52))
    assert told(result).startswith("The image could not be downloaded from Discord.")
    assert "connection refused" not in told(result)
    assert await all_jobs() == []


async def test_a_prompt_of_white_space_is_refused_privately(
    simcord_env: Env,
    alice: MemberActor,
    bob: MemberActor,
    channel: ChannelHandle,
    all_jobs: AllJobs,
) -> None:
    result = await alice.slash(channel, "video", prompt=" \n\t ")
    assert told(result).startswith("The prompt is empty.")
    assert await all_jobs() == []
    assert (len(channel.history(viewer=alice)), channel.history(viewer=bob)) == (1, [])
    assert_error(simcord_env, EmptyPrompt)


@pytest.mark.parametrize(
    ("denied", "named"),
    [
        (["embed_links"], "I am missing Embed Links."),
        (
            ["attach_files", "read_message_history"],
            "I am missing Attach Files and Read Message History.",
        ),
        (
            ["send_messages", "embed_links", "attach_files"],
            "I am missing Send Messages, Embed Links and Attach Files.",
        ),
    ],
)
async def test_where_the_bot_could_not_post_it_takes_no_order(  # noqa: PLR0913, PLR0917 — fixtures
    simcord_env: Env,
    alice: MemberActor,
    channel: ChannelHandle,
    all_jobs: AllJobs,
    set_permissions: SetPermissions,
    denied: list[str],
    named: str,
) -> None:
    set_permissions(**dict.fromkeys(denied, False))
    result = await alice.slash(channel, "video", prompt="a red fox")
    assert result.ephemeral
    assert named in told(result)
    assert await all_jobs() == []
    assert_error(simcord_env, MissingRights)


@pytest.mark.parametrize(
    ("permissions", "named"),
    [
        ({"send_messages_in_threads": False}, "Send Messages in Threads"),
        ({"send_messages": False}, None),
    ],
)
async def test_threads_have_a_right_of_their_own(
    simcord_env: Env,
    alice: MemberActor,
    channel: ChannelHandle,
    set_permissions: SetPermissions,
    permissions: dict[str, bool],
    named: str | None,
) -> None:
    parent = simcord_env.bot.get_channel(channel.id)
    assert isinstance(parent, discord.TextChannel)
    await parent.create_thread(name="foxes", type=discord.ChannelType.public_thread)
    [thread] = channel.threads
    set_permissions(**permissions)
    result = await alice.slash(thread, "video", prompt="a red fox")
    assert result.response is not None
    if named is None:
        assert result.response.embeds[0].title == "Queued"
    else:
        assert named in told(result)
        assert_error(simcord_env, MissingRights)


@pytest.mark.usefixtures("repeat_answers")
async def test_an_acknowledgement_whose_reply_got_lost_is_one(
    alice: MemberActor, channel: ChannelHandle, all_jobs: AllJobs
) -> None:
    result = await alice.slash(channel, "video", prompt="a red fox")
    assert result.response is not None
    assert result.response.embeds[0].title == "Queued"
    [job] = await all_jobs()
    assert job.placeholder_id == result.response.id


async def test_without_credits_nothing_is_stored(
    alice: MemberActor,
    channel: ChannelHandle,
    order: Order,
    all_jobs: AllJobs,
    services: Services,
    guild: GuildHandle,
) -> None:
    await order()
    await order()
    result = await alice.slash(channel, "video", prompt="one too many")
    assert "not have enough credits: 132 needed, 36 available." in told(result)
    assert len(await all_jobs()) == 2
    assert await services.budgets.of(guild.id) == Balance(available=36, held=264, spent=0)


async def test_in_direct_messages_the_bot_says_where_to_go(
    simcord_env: Env, all_jobs: AllJobs
) -> None:
    result = await simcord_env.create_user("dora").slash("video", prompt="a red fox")
    assert told(result).startswith("Videos are made in servers")
    assert await all_jobs() == []
    assert_error(simcord_env, GuildOnly)


async def test_a_job_goes_on_when_its_placeholder_cannot_be_shown(
    simcord_env: Env, alice: MemberActor, channel: ChannelHandle, all_jobs: AllJobs
) -> None:
    simcord_env.inject_error("PATCH", "/webhooks/*/messages/@original", status=400)
    await alice.slash(channel, "video", prompt="a red fox")
    [job] = await all_jobs()
    assert job.state is State.QUEUED
