from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from core.errors import NotEnoughCredits
from core.jobs import ARROWS, Job, StaleJob, State
from core.ledger import Balance

if TYPE_CHECKING:
    from storage.database import Database
    from storage.jobs import JobStore

MakeJob = Callable[..., Job]
GUILD = 11


async def claimed(store: JobStore, job: Job) -> Job:
    await store.enqueue(job, 1000)
    claims = await store.claim("worker-a", 10, time.time() + 1)
    return next(mine for mine in claims if mine.id == job.id)


async def test_reserving_and_enqueuing_are_one(store: JobStore, make_job: MakeJob) -> None:
    await store.enqueue(make_job(), 132)
    with pytest.raises(NotEnoughCredits) as refused:
        await store.enqueue(make_job(), 132)
    assert (refused.value.needed, refused.value.available) == (132, 0)
    assert await store.balance(GUILD, 132, 0) == Balance(0, 132, 0)
    assert len(await store.claim("w", 10, time.time() + 1)) == 1
    assert await store.audit() == []


async def test_an_interaction_makes_one_job(store: JobStore, make_job: MakeJob) -> None:
    first = await store.enqueue(make_job(interaction_id=7), 1000)
    again = await store.enqueue(make_job(interaction_id=7), 1000)
    assert again.id == first.id
    assert (await store.balance(GUILD, 0, 0)).held == 132


async def test_of_fifty_at_the_last_credit_one_wins(store: JobStore, make_job: MakeJob) -> None:
    results = await asyncio.gather(
        *(store.enqueue(make_job(), 132) for _ in range(50)), return_exceptions=True
    )
    assert sum(isinstance(result, Job) for result in results) == 1
    assert sum(isinstance(result, NotEnoughCredits) for result in results) == 49
    assert await store.audit() == []


async def test_a_job_survives_the_way_through_the_table(store: JobStore, make_job: MakeJob) -> None:
    job = make_job(placeholder_id=2**63 - 1, error_detail="it's 50% \u202e 🦊")
    await store.enqueue(job, 1000)
    assert await store.get(job.id) == job


async def test_only_a_due_job_is_claimed(store: JobStore, make_job: MakeJob) -> None:
    job = make_job()
    await store.enqueue(job, 1000)
    assert await store.claim("w", 10, job.due_at - 1) == []
    [mine] = await store.claim("w", 10, job.due_at)
    assert (mine.worker, mine.fence) == ("w", job.fence + 1)
    assert await store.claim("w", 10, job.due_at, driving=[job.id]) == []


async def test_a_job_that_was_dropped_is_claimed_again(store: JobStore, make_job: MakeJob) -> None:
    dropped = await claimed(store, make_job())
    [again] = await store.claim("worker-a", 10, time.time() + 1)
    assert (again.id, again.fence) == (dropped.id, dropped.fence + 1)
    [taken] = await store.claim("worker-b", 10, time.time() + 1, driving=[dropped.id])
    assert taken.worker == "worker-b"


async def test_a_row_that_cannot_be_read_keeps_no_other_from_being_done(
    store: JobStore, database: Database, make_job: MakeJob
) -> None:
    broken, whole = make_job(), make_job()
    for job in (broken, whole):
        await store.enqueue(job, 1000)
    await database.transaction(
        lambda connection: connection.execute(
            text("UPDATE jobs SET request = '{}' WHERE id = :id"), {"id": broken.id}
        )
    )
    claims = [await store.claim("w", 1, time.time() + 1) for _ in range(3)]
    assert [job.id for jobs in claims for job in jobs][:1] == [whole.id]


async def test_only_queued_jobs_wait_for_their_time(store: JobStore, make_job: MakeJob) -> None:
    """The machine's clock may have been wrong when the time was written."""
    await store.enqueue(make_job(state=State.GENERATING, due_at=time.time() + 86_400), 1000)
    assert len(await store.claim("w", 10, time.time())) == 1


async def test_a_held_job_waits_for_its_moderator(store: JobStore, make_job: MakeJob) -> None:
    await store.enqueue(make_job(state=State.HELD), 1000)
    assert await store.claim("w", 10, time.time() + 1) == []


async def test_claims_go_by_age_and_stop_at_the_limit(store: JobStore, make_job: MakeJob) -> None:
    for age in (5, 9, 7):
        await store.enqueue(make_job(due_at=float(-age)), 1000)
    claimed_jobs = await store.claim("w", 2, 0)
    assert [job.due_at for job in claimed_jobs] == [-9, -7]


async def test_an_older_run_cannot_move_a_job(store: JobStore, make_job: MakeJob) -> None:
    stale = await claimed(store, make_job())
    [fresh] = await store.claim("worker-b", 10, time.time() + 1)
    with pytest.raises(StaleJob):
        await store.move(stale, State.SUBMITTING, {})
    with pytest.raises(StaleJob):
        await store.settle(stale, State.FAILED, 0, 0, {})
    with pytest.raises(StaleJob):
        await store.reload(stale)
    with pytest.raises(StaleJob):
        await store.told(stale, 0)
    assert (await store.move(fresh, State.SUBMITTING, {})).state is State.SUBMITTING
    assert (await store.balance(GUILD, 0, 0)).held == 132


@pytest.mark.parametrize("start", State)
async def test_there_are_no_other_arrows(store: JobStore, make_job: MakeJob, start: State) -> None:
    for end in State:
        job = await store.enqueue(make_job(state=start), 10_000)
        if end in ARROWS.get(start, ()):
            assert (await store.move(job, end, {})).state is end
        else:
            with pytest.raises(ValueError, match="no arrow"):
                await store.move(job, end, {})


@pytest.mark.parametrize(
    ("captured", "balance"),
    [(0, Balance(1000, 0, 0)), (110, Balance(890, 0, 110)), (132, Balance(868, 0, 132))],
)
async def test_an_end_settles_the_hold(
    store: JobStore, make_job: MakeJob, captured: int, balance: Balance
) -> None:
    job = await claimed(store, make_job())
    job = await store.move(job, State.SUBMITTING, {})
    job = await store.settle(job, State.FAILED, captured, 5.0, {"error": "BadClip"})
    assert (job.state, job.captured, job.ended_at) == (State.FAILED, captured, 5.0)
    assert await store.balance(GUILD, 0, 0) == balance
    assert await store.audit() == []


async def test_more_than_the_hold_is_never_captured(store: JobStore, make_job: MakeJob) -> None:
    job = await claimed(store, make_job())
    with pytest.raises(ValueError, match="cannot capture"):
        await store.settle(job, State.FAILED, 133, 0, {})
    assert (await store.get(job.id)) == job
    assert (await store.balance(GUILD, 0, 0)).held == 132


async def test_a_job_in_doubt_costs_the_operator(
    store: JobStore, database: Database, make_job: MakeJob
) -> None:
    job = await claimed(store, make_job())
    job = await store.move(job, State.SUBMITTING, {})
    await store.settle(job, State.IN_DOUBT, 0, 0, {})
    assert await store.balance(GUILD, 0, 0) == Balance(1000, 0, 0)
    in_doubt = await database.transaction(
        lambda connection: connection.scalar(
            text("SELECT balance FROM accounts WHERE name = 'in_doubt'")
        )
    )
    assert in_doubt == 132
    assert await store.audit() == []


async def test_a_failed_transaction_changes_nothing(
    store: JobStore, database: Database, make_job: MakeJob
) -> None:
    job = await claimed(store, make_job())
    await database.transaction(
        lambda connection: connection.execute(
            text("INSERT INTO transfers (kind, job_id, note, at) VALUES ('release', :id, '', 0)"),
            {"id": job.id},
        )
    )
    with pytest.raises(IntegrityError):
        await store.settle(job, State.FAILED, 0, 0, {})
    assert await store.get(job.id) == job


async def test_a_provider_job_belongs_to_one_job(store: JobStore, make_job: MakeJob) -> None:
    for job in (make_job(), make_job()):
        await store.enqueue(job, 1000)
    first, second = await store.claim("w", 10, time.time() + 1)
    first = await store.move(first, State.SUBMITTING, {})
    second = await store.move(second, State.SUBMITTING, {})
    await store.move(first, State.GENERATING, {"provider_job_id": "abc"})
    with pytest.raises(IntegrityError):
        await store.move(second, State.GENERATING, {"provider_job_id": "abc"})
    assert await store.unclaimed("segmind", ["abc", "def"]) == ["def"]


async def test_rivals_are_submits_with_the_same_body(store: JobStore, make_job: MakeJob) -> None:
    for job in (make_job(), make_job(), make_job()):
        await store.enqueue(job, 1000)
    one, two, three = await store.claim("w", 10, time.time() + 1)
    one = await store.move(one, State.SUBMITTING, {"body": {"prompt": "fox"}})
    await store.move(two, State.SUBMITTING, {"body": {"prompt": "owl"}})
    assert not await store.has_rival(one)
    three = await store.move(three, State.SUBMITTING, {"body": {"prompt": "fox"}})
    assert await store.has_rival(one)
    await store.move(three, State.GENERATING, {})
    assert not await store.has_rival(one)


class TestCancel:
    async def test_is_free_while_queued(self, store: JobStore, make_job: MakeJob) -> None:
        job = await claimed(store, make_job())
        cancelled = await store.cancel_at_once(job.id, 7.0)
        assert cancelled is not None
        assert cancelled.state is State.CANCELLED
        assert await store.balance(GUILD, 0, 0) == Balance(1000, 0, 0)
        with pytest.raises(StaleJob):
            await store.move(job, State.SUBMITTING, {})
        [to_tell] = await store.claim("w", 10, time.time())
        assert to_tell.id == job.id

    async def test_does_not_disturb_a_submit(self, store: JobStore, make_job: MakeJob) -> None:
        job = await claimed(store, make_job())
        job = await store.move(job, State.SUBMITTING, {})
        assert await store.cancel_at_once(job.id, 7.0) is None
        assert await store.request_cancel(job.id, 7.0)
        job = await store.move(job, State.GENERATING, {"provider_job_id": "abc"})
        assert job.cancel_requested_at == 7.0

    async def test_and_posting_exclude_each_other(self, store: JobStore, make_job: MakeJob) -> None:
        job = await claimed(store, make_job(state=State.FETCHING))
        assert await store.request_cancel(job.id, 7.0)
        kept_back = await store.begin_posting(job, {})
        assert (kept_back.state, kept_back.cancel_requested_at) == (State.FETCHING, 7.0)

        other = await claimed(store, make_job(state=State.FETCHING))
        assert (await store.begin_posting(other, {})).state is State.POSTING
        assert await store.request_cancel(other.id, 7.0) is None


async def test_a_told_job_is_left_alone(store: JobStore, make_job: MakeJob) -> None:
    job = await claimed(store, make_job())
    job = await store.settle(job, State.FAILED, 0, 0, {})
    assert len(await store.claim("w2", 10, time.time() + 1)) == 1
    [job] = await store.claim("w3", 10, time.time() + 1)
    await store.told(job, 9.0)
    assert await store.claim("w4", 10, time.time() + 1) == []


async def test_the_placeholder_makes_a_new_job_due(store: JobStore, make_job: MakeJob) -> None:
    job = make_job(due_at=time.time() + 60)
    await store.enqueue(job, 1000)
    await store.set_placeholder(job.id, 5, 1.0)
    [mine] = await store.claim("w", 10, 1.0)
    assert mine.placeholder_id == 5
