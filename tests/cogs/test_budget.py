"""`/budget`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simcord import assert_error

from core.errors import GuildOnly
from core.jobs import State

if TYPE_CHECKING:
    from simcord import ChannelHandle, Env, InteractionResult, MemberActor

    from storage.jobs import JobStore
    from tests.cogs.conftest import Lead, Order


def numbers(result: InteractionResult) -> dict[str | None, str | None]:
    assert result.response is not None
    [card] = result.response.embeds
    return {field.name: field.value for field in card.fields} | {"footer": card.footer.text}


async def test_a_budget_is_told_privately(alice: MemberActor, channel: ChannelHandle) -> None:
    result = await alice.slash(channel, "budget")
    assert result.ephemeral
    assert numbers(result) == {
        "Available": "300 credits (US$3.00)",
        "Held by running videos": "0 credits (US$0.00)",
        "Spent": "0 credits (US$0.00)",
        "footer": "Enough for 2 more videos right now.",
    }


async def test_a_budget_tells_what_is_held_and_what_was_spent(
    alice: MemberActor, channel: ChannelHandle, order: Order, lead: Lead, store: JobStore
) -> None:
    on_way = (State.SUBMITTING, State.GENERATING, State.FETCHING, State.POSTING)
    posted = await lead(await order(), *on_way)
    await store.settle(posted, State.DONE, 100, posted.due_at, {})
    await order()
    assert numbers(await alice.slash(channel, "budget")) == {
        "Available": "68 credits (US$0.68)",
        "Held by running videos": "132 credits (US$1.32)",
        "Spent": "100 credits (US$1.00)",
        "footer": "Enough for 0 more videos right now.",
    }


async def test_servers_have_separate_budgets(
    simcord_env: Env, alice: MemberActor, order: Order
) -> None:
    await order()
    other = simcord_env.create_guild("Elsewhere")
    lobby = other.create_text_channel("lobby")
    visitor = other.add_member(alice.user)
    assert numbers(await visitor.slash(lobby, "budget"))["Available"] == "300 credits (US$3.00)"


async def test_in_direct_messages_there_is_no_budget(simcord_env: Env) -> None:
    result = await simcord_env.create_user("dora").slash("budget")
    assert result.response.embeds[0].description.startswith("Videos are made in servers")
    assert_error(simcord_env, GuildOnly)
