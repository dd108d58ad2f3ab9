"""The core's outer ports as small scripted parts around the real steps, worker and database.

Each part behaves truly as long as a test says nothing: the provider's history knows what was
ordered, the channel what was posted. A test writes down only what goes wrong, and where.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from core.catalog import Model
from core.clips import Clips
from core.errors import FetchGone, NotSubmitted
from core.jobs import Job, State
from core.ports import Completed, Failed, Receipt, Running
from core.progress import Progress
from core.steps import Steps, Timings
from core.videos import Videos
from core.worker import Alarm, Stopping, Worker
from storage.jobs import JobStore
from storage.tables import jobs as jobs_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from core.jobs import Changes
    from core.ledger import Balance
    from core.video import VideoRequest
    from storage.database import Database

GUILD, CREDITS = 11, 10_000
START = 1_700_000_000.0
TOO_LONG_S = 10 * 86_400.0
TIMINGS = Timings()
MODEL = Model(
    provider="segmind",
    name="luma-ray-3-2",
    aspects=("16:9", "1:1", "9:16"),
    durations_s=(5, 10),
    resolutions=("720p", "1080p"),
    list_price=132,
    usual_wait_s=50,
)
CLIP_URL = "https://cdn.example/clip.mp4"

Event = Exception | Callable[[], Awaitable[object]]


class VirtualClock:
    """A time of day that only moves when somebody waits, or a test sets it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class VirtualAlarm(Alarm):
    """Waits take no time; a job that would wait for days counts as one that never ends."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._clock = clock

    async def pause(self, seconds: float) -> None:
        """Let the time pass; a test that clears `may_end` keeps everybody waiting."""
        self._clock.now += seconds
        if self._clock.now > START + TOO_LONG_S:
            self.stop()
        await asyncio.sleep(0)
        await self.may_end.wait()
        if self.is_stopped:
            raise Stopping

    async def wait_for_work(self, seconds: float) -> None:
        await super().wait_for_work(seconds / 30)


class Script:
    """What happens at each point of the world, and the record of the points that were reached."""

    def __init__(self, clock: VirtualClock) -> None:
        self.points: list[str] = []
        self.moments: defaultdict[str, list[float]] = defaultdict(list)
        self._clock = clock
        self._next: defaultdict[str, deque[Event]] = defaultdict(deque)
        self._always: dict[str, Event] = {}

    def at(self, point: str, *events: Event) -> None:
        """Let these happen the next times that this point is reached."""
        self._next[point].extend(events)

    def always(self, point: str, event: Event) -> None:
        self._always[point] = event

    async def reach(self, point: str) -> None:
        self.points.append(point)
        self.moments[point].append(self._clock.now)
        events = self._next[point]
        event = events.popleft() if events else self._always.get(point)
        if isinstance(event, Exception):
            raise event
        if event is not None:
            await event()

    def count(self, point: str) -> int:
        return len(self.moments[point])


class WatchedStore(JobStore):
    """The real store; `commit …` is reached before a transaction, `committed …` after it."""

    def __init__(self, database: Database, script: Script) -> None:
        super().__init__(database)
        self._script = script

    async def claim(
        self, worker: str, limit: int, now: float, driving: Collection[str] = ()
    ) -> list[Job]:
        await self._script.reach("claim")
        claimed = await super().claim(worker, limit, now, driving)
        await self._script.reach("claimed")
        return claimed

    async def move(self, job: Job, to: State, changes: Changes) -> Job:
        await self._script.reach(f"commit {to}")
        moved = await super().move(job, to, changes)
        await self._script.reach(f"committed {to}")
        return moved

    async def begin_posting(self, job: Job, changes: Changes) -> Job:
        await self._script.reach("commit posting")
        moved = await super().begin_posting(job, changes)
        await self._script.reach(f"committed {moved.state}")
        return moved

    async def settle(self, job: Job, to: State, captured: int, now: float, changes: Changes) -> Job:
        await self._script.reach(f"commit {to}")
        settled = await super().settle(job, to, captured, now, changes)
        await self._script.reach(f"committed {to}")
        return settled

    async def told(self, job: Job, now: float) -> Job:
        await self._script.reach("commit told")
        told = await super().told(job, now)
        await self._script.reach("committed told")
        return told

    async def cancel_at_once(self, job_id: str, now: float) -> Job | None:
        await self._script.reach("commit cancelled")
        return await super().cancel_at_once(job_id, now)

    async def request_cancel(self, job_id: str, now: float) -> Job | None:
        await self._script.reach("request cancel")
        return await super().request_cancel(job_id, now)


@dataclass
class Record:
    """A line in the provider's own history."""

    id: str
    body: dict[str, Any]
    at: float
    visible_at: float


def completed(usd: str | None = "1.10", url: str = CLIP_URL) -> Completed:
    return Completed(url, None if usd is None else Decimal(usd), {"status": "COMPLETED"})


class ScriptedProvider:
    """Points: upload, submit, submitted (it has taken effect), poll, find.

    `asked` are the bodies that may have made a video: all but those that certainly did not.
    """

    name = "segmind"
    submit_limit_s = 60.0

    def __init__(self, script: Script, clock: VirtualClock) -> None:
        self.asked: list[dict[str, Any]] = []
        self.made: list[Record] = []
        self.uploads: list[Path] = []
        self.windows: list[tuple[float, float]] = []
        self.verdicts: deque[Running | Completed | Failed] = deque([Running(), completed()])
        self.history_lag_s = 0.0
        self._script = script
        self._clock = clock

    def build(self, request: VideoRequest, start_frame_url: str | None) -> dict[str, Any]:
        return {"prompt": request.prompt, "start_frame": start_frame_url}

    async def upload(self, picture: Path) -> str:
        self.uploads.append(picture)
        await self._script.reach("upload")
        return f"https://uploads.example/{picture.name}"

    async def submit(self, model: str, body: dict[str, Any]) -> Receipt:
        assert model == "luma-ray-3-2"
        self.asked.append(body)
        try:
            await self._script.reach("submit")
        except NotSubmitted:
            self.asked.pop()
            raise
        record = self.make(body)
        await self._script.reach("submitted")
        return Receipt(record.id, {"request_id": record.id})

    def make(self, body: dict[str, Any]) -> Record:
        now = self._clock()
        record = Record(f"r{len(self.made) + 1}", body, now, now + self.history_lag_s)
        self.made.append(record)
        return record

    async def poll(self, provider_job_id: str) -> Running | Completed | Failed:
        assert provider_job_id in [record.id for record in self.made]
        await self._script.reach("poll")
        return self.verdicts.popleft() if len(self.verdicts) > 1 else self.verdicts[0]

    async def find(self, model: str, body: dict[str, Any], since: float, until: float) -> list[str]:
        assert model == "luma-ray-3-2"
        self.windows.append((since, until))
        await self._script.reach("find")
        return [
            record.id
            for record in self.made
            if record.body == body
            and since <= record.at <= until
            and record.visible_at <= self._clock()
        ]


class ScriptedChannel:
    """The Messenger. Points: show, post, posted (it has taken effect), look, tell, told."""

    def __init__(self, script: Script) -> None:
        self.shown: list[Job] = []
        self.posts: list[tuple[str, bytes]] = []
        self.told: list[Job] = []
        self._script = script

    async def show(self, job: Job) -> None:
        self.shown.append(job)
        await self._script.reach("show")

    async def post(self, job: Job, clip: Path) -> int:
        await self._script.reach("post")
        self.posts.append((job.id, clip.read_bytes()))
        message_id = len(self.posts)
        await self._script.reach("posted")
        return message_id

    async def find_post(self, job: Job) -> int | None:
        await self._script.reach("look")
        ids = [message_id for message_id, (owner, _) in enumerate(self.posts, 1) if owner == job.id]
        return ids[0] if ids else None

    async def tell(self, job: Job) -> None:
        await self._script.reach("tell")
        self.told.append(job)
        await self._script.reach("told")


@dataclass
class Download:
    """What the fetcher was asked."""

    url: str
    max_bytes: int
    timeout_s: float
    hosts: frozenset[str] | None


class ScriptedWeb:
    """The Fetcher. Points: fetch, fetched (the file is there)."""

    def __init__(self, script: Script) -> None:
        self.asked: list[Download] = []
        self.gone: set[str] = set()
        self._script = script

    async def fetch(
        self,
        url: str,
        to: Path,
        *,
        max_bytes: int,
        timeout_s: float,
        hosts: frozenset[str] | None = None,
    ) -> None:
        self.asked.append(Download(url, max_bytes, timeout_s, hosts))
        await self._script.reach("fetch")
        if url in self.gone:
            raise FetchGone("HTTP 404")
        to.write_bytes(f"file at {url}".encode())
        await self._script.reach("fetched")


class ScriptedChecker:
    """The ClipChecker. Point: check."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def check(self, clip: Path) -> object:
        assert clip.exists()
        await self._script.reach("check")
        return None


@dataclass
class Frame:
    """The Picture that a start frame becomes."""

    path: Path


class ScriptedFrames:
    """The FrameMaker. Points: measure, make."""

    def __init__(self, script: Script) -> None:
        self.size = (1080, 1920)
        self.made: list[tuple[bytes, tuple[int, int] | None]] = []
        self.sources: list[Path] = []
        self._script = script

    async def measure(self, source: Path) -> tuple[int, int]:
        self.sources.append(source)
        await self._script.reach("measure")
        return self.size

    async def make(self, source: Path, ratio: tuple[int, int] | None) -> Frame:
        self.sources.append(source)
        await self._script.reach("make")
        self.made.append((source.read_bytes(), ratio))
        return Frame(source.with_name("0123abcd.jpg"))


@dataclass
class World:
    """Everything around one database. `check_books` holds what must be true after any test."""

    database: Database
    folder: Path
    make_job: Callable[..., Job]
    markup: Decimal = Decimal(1)
    clock: VirtualClock = field(default_factory=VirtualClock)

    def __post_init__(self) -> None:
        self.script = Script(self.clock)
        self.store = WatchedStore(self.database, self.script)
        self.provider = ScriptedProvider(self.script, self.clock)
        self.channel = ScriptedChannel(self.script)
        self.web = ScriptedWeb(self.script)
        self.frames = ScriptedFrames(self.script)
        self.nudges = 0
        self.shown: list[Job] = []

    def clips(self, alarm: Alarm | None = None) -> Clips:
        return Clips(
            folder=self.folder / "clips",
            fetcher=self.web,
            checker=ScriptedChecker(self.script),
            clock=self.clock,
            pause=(alarm or VirtualAlarm(self.clock)).pause,
            poll_s=TIMINGS.poll_s,
        )

    def steps(self, alarm: Alarm | None = None) -> Steps:
        return Steps(
            store=self.store,
            providers={"segmind": self.provider},
            messenger=self.channel,
            clips=self.clips(alarm),
            frames=self.folder / "frames",
            clock=self.clock,
            pause=(alarm or VirtualAlarm(self.clock)).pause,
            markup=self.markup,
            timings=TIMINGS,
        )

    def worker(self, *, jobs_max: int = 5, alarm: Alarm | None = None) -> Worker:
        """Return a worker that has just been started, with an alarm of its own."""
        alarm = alarm or VirtualAlarm(self.clock)
        return Worker(
            store=self.store,
            steps=self.steps(alarm),
            progress=Progress(self.channel),
            alarm=alarm,
            clock=self.clock,
            jobs_max=jobs_max,
        )

    def videos(self, *, opening_credits: int = CREDITS) -> Videos:
        def nudge() -> None:
            self.nudges += 1

        return Videos(
            store=self.store,
            model=MODEL,
            fetcher=self.web,
            frames=self.frames,
            clock=self.clock,
            nudge=nudge,
            show=self.shown.append,
            temporary=self.folder,
            markup=self.markup,
            opening_credits=opening_credits,
        )

    @asynccontextmanager
    async def working(self, worker: Worker | None = None) -> AsyncIterator[asyncio.Task[None]]:
        """Run a worker in the background, and stop it in good order."""
        worker = worker or self.worker()
        run = asyncio.create_task(worker.run())
        try:
            async with asyncio.timeout(10):
                yield run
        finally:
            worker.alarm.stop()
            await run

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not is_so():
                await asyncio.sleep(0.001)

    async def order(self, **changes: object) -> Job:
        """Enqueue a job that is due; `state` and the rest may say that it is further already."""
        times = {"created_at": self.clock.now, "due_at": self.clock.now, "placeholder_id": 5}
        return await self.store.enqueue(self.make_job(**(times | changes)), CREDITS)

    async def order_in(self, state: State, **changes: object) -> Job:
        """Leave a job behind as a run that died in `state` would have."""
        now = self.clock.now
        body = {"prompt": "a red fox", "start_frame": None}
        past: dict[str, object] = {"worker": "dead", "state": state}
        if state is State.SUBMITTING:
            past |= {"body": body, "submitted_at": now, "deadline": now + 180}
        if state in {State.GENERATING, State.FETCHING, State.POSTING}:
            record = self.provider.make(body)
            past |= {"body": body, "submitted_at": now, "provider_job_id": record.id}
            past |= {"deadline": now + 2700}
        if state in {State.FETCHING, State.POSTING}:
            past |= {"result_url": CLIP_URL, "cost": 110, "deadline": now + 3600}
        if state is State.POSTING:
            past |= {"posting_at": now}
        return await self.order(**(past | changes))

    async def claim(self, name: str = "claimer") -> Job:
        """Claim the one job that there is, to take its steps one by one."""
        [job] = await self.store.claim(name, 10, self.clock.now)
        return job

    async def finish(self, job: Job, *, jobs_max: int = 5) -> Job:
        """Run a worker until the job's end was told; return the job as it ended."""
        async with self.working(self.worker(jobs_max=jobs_max)) as run:
            while not (now := await self.see(job)).is_settled:
                if run.done():
                    pytest.fail(f"the job would stay in {now.state} for ever")
                if now.state is State.QUEUED and now.attempts:
                    self.clock.now = max(self.clock.now, now.due_at)  # nobody drives it till then
                await asyncio.sleep(0.001)
        return now

    async def see(self, job: Job) -> Job:
        seen = await self.store.get(job.id)
        assert seen is not None
        return seen

    async def balance(self) -> Balance:
        return await self.store.balance(GUILD, CREDITS, 0)

    async def jobs(self) -> list[Job]:
        ids = await self.database.transaction(
            lambda connection: list(connection.scalars(select(jobs_table.c.id)))
        )
        found = [await self.store.get(job_id) for job_id in ids]
        return [job for job in found if job is not None]

    def clip(self, job: Job) -> Path:
        return self.clips().path_of(job)

    async def check_books(self) -> None:
        jobs = await self.jobs()
        assert await self.store.audit() == []
        assert (await self.balance()).held == sum(job.hold for job in jobs if not job.state.is_end)
        assert len(self.provider.asked) <= len(jobs), "a job was submitted twice"
        posts = [owner for owner, _ in self.channel.posts]
        assert len(posts) == len(set(posts)), "a job was posted twice"
        for job in jobs:
            if job.state is State.DONE:
                assert posts.count(job.id) == 1
            elif job.state.is_end:
                assert job.id not in posts
                assert job.captured == 0 or job.state is State.CANCELLED
