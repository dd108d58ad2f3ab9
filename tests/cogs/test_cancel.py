"""The buttons under a job: who may press them, when, and after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
import pytest

from cogs._views import job_buttons
from core.jobs import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from simcord import (
        ChannelHandle,
        Env,
        GuildHandle,
        InteractionResult,
        MemberActor,
        ResponseMessage,
    )

    from cogs._bot import Services
    from cogs._delivery import DiscordMessenger
    from core.jobs import Job
    from storage.jobs import JobStore
    from tests.cogs.conftest import Lead, Order, Restart


def placeholder(channel: ChannelHandle) -> discord.Message:
    [message] = channel.history()
    return message


def told(result: InteractionResult) -> ResponseMessage:
    """Return an answer that only who pressed the button sees."""
    assert result.response is not None
    assert result.response.ephemeral
    return result.response


async def test_the_requester_cancels_a_queued_job_for_nothing(
    order: Order,
    alice: MemberActor,
    channel: ChannelHandle,
    services: Services,
    guild: GuildHandle,
) -> None:
    await order()
    answer = told(await alice.click(placeholder(channel), label="Cancel"))
    assert answer.content == "Cancelled. Nothing was charged."
    assert (await services.budgets.of(guild.id)).available == 300


async def test_a_cancelled_job_is_told_by_its_placeholder(
    order: Order,
    alice: MemberActor,
    channel: ChannelHandle,
    store: JobStore,
    messenger: DiscordMessenger,
) -> None:
    job = await order()
    await alice.click(placeholder(channel), label="Cancel")
    [ended] = await store.claim("worker", 1, job.due_at)
    await messenger.tell(ended)
    [card] = placeholder(channel).embeds
    assert card.title == "Cancelled"
    assert "the held credits are back" in str(card.description)
    assert placeholder(channel).components == []


async def test_a_stranger_cannot_cancel(
    order: Order, bob: MemberActor, channel: ChannelHandle, store: JobStore
) -> None:
    job = await order()
    answer = told(await bob.click(placeholder(channel), label="Cancel"))
    assert answer.content.startswith("Only the member who asked for this clip")
    assert await store.get(job.id) == job


async def test_a_moderator_can_cancel(
    order: Order, moderator: MemberActor, channel: ChannelHandle, store: JobStore
) -> None:
    job = await order()
    await moderator.click(placeholder(channel), label="Cancel")
    ended = await store.get(job.id)
    assert ended is not None
    assert ended.state is State.CANCELLED


async def test_a_job_that_the_provider_has_asks_first(
    order: Order,
    lead: Lead,
    alice: MemberActor,
    channel: ChannelHandle,
    store: JobStore,
) -> None:
    job = await lead(await order(), State.SUBMITTING, State.GENERATING)
    question = told(await alice.click(placeholder(channel), label="Cancel"))
    assert "at most 132 credits (US$1.32)" in question.content
    assert await store.get(job.id) == job

    answer = told(await alice.click(question, label="Cancel anyway"))
    assert answer.id == question.id
    assert answer.content.startswith("Cancelled: nothing will be posted.")
    assert answer.components == []
    marked = await store.get(job.id)
    assert marked is not None
    assert (marked.state, marked.cancel_requested_at) == (State.GENERATING, job.created_at)

    assert str(placeholder(channel).embeds[0].title).startswith("Cancelling")
    assert [field.name for field in placeholder(channel).embeds[0].fields] == ["Format", "Price"]
    assert placeholder(channel).components == []


async def test_what_is_being_posted_is_too_late_to_cancel(
    order: Order, lead: Lead, alice: MemberActor, channel: ChannelHandle, store: JobStore
) -> None:
    on_way = (State.SUBMITTING, State.GENERATING, State.FETCHING, State.POSTING)
    job = await lead(await order(), *on_way)
    answer = told(await alice.click(placeholder(channel), label="Cancel"))
    assert answer.content.startswith("Too late to cancel")
    assert await store.get(job.id) == job


async def test_a_confirmation_that_comes_too_late_changes_nothing(
    order: Order, lead: Lead, alice: MemberActor, channel: ChannelHandle, store: JobStore
) -> None:
    job = await lead(await order(), State.SUBMITTING, State.GENERATING, State.FETCHING)
    question = told(await alice.click(placeholder(channel), label="Cancel"))
    posting = await store.move(job, State.POSTING, {})
    answer = told(await alice.click(question, label="Cancel anyway"))
    assert answer.content.startswith("Too late to cancel")
    assert await store.get(job.id) == posting


async def test_another_servers_job_is_unknown_even_to_its_requester(
    order: Order, alice: MemberActor, simcord_env: Env, store: JobStore
) -> None:
    job = await order()
    other = simcord_env.create_guild("Elsewhere")
    lobby = other.create_text_channel("lobby")
    visitor = other.add_member(alice.user)
    channel = simcord_env.bot.get_channel(lobby.id)
    assert isinstance(channel, discord.TextChannel)
    view = job_buttons(job)
    assert view is not None
    message = await channel.send("forged", view=view)
    answer = told(await visitor.click(message, label="Cancel"))
    assert answer.content.startswith("I do not know this clip")
    assert await store.get(job.id) == job


async def test_buttons_work_after_a_restart(
    order: Order,
    lead: Lead,
    alice: MemberActor,
    channel: ChannelHandle,
    restart: Restart,
    store: JobStore,
) -> None:
    job = await lead(await order(), State.SUBMITTING)
    await restart()
    question = told(await alice.click(placeholder(channel), label="Cancel"))
    await restart()
    await alice.click(question, label="Cancel anyway")
    marked = await store.get(job.id)
    assert marked is not None
    assert marked.cancel_requested_at is not None


@pytest.mark.parametrize("state", [state for state in State if state.is_end])
async def test_a_job_that_ended_has_no_buttons(state: State, make_job: Callable[..., Job]) -> None:
    assert job_buttons(make_job(state=state)) is None
