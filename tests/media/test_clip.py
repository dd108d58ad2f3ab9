"""Clips made by the real ffmpeg, whole and damaged."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-untyped]  # it has no hints

from core.errors import BadClip, ClipUnchecked
from media import clip as clip_module
from media.boxes import read_facts
from media.child import Limits
from media.clip import ClipChecker

if TYPE_CHECKING:
    from collections.abc import Callable

    from media.boxes import ClipFacts

    Check = Callable[[bytes], ClipFacts]

H264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -movflags +faststart"


def render(path: Path, options: str = H264, source: str = "testsrc2=s=320x180:r=12:d=2") -> Path:
    """Let ffmpeg make a clip; a codec that it does not have skips the test."""
    command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, *options.split()]
    done = subprocess.run(  # noqa: S603 — our own words
        [*command, str(path)], capture_output=True, text=True, check=False
    )
    if "Unknown encoder" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two seconds of 320 x 180, its index in front."""
    return render(tmp_path_factory.mktemp("clips") / "whole.mp4").read_bytes()


@pytest.fixture
def check(tmp_path: Path) -> Check:
    def checked(content: bytes) -> ClipFacts:
        path = tmp_path / "clip.mp4"
        path.write_bytes(content)
        return asyncio.run(ClipChecker().check(path))

    return checked


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


# --- Good clips. ---


def test_a_whole_clip(check: Check, whole: bytes) -> None:
    facts = check(whole)
    assert (facts.width, facts.height) == (320, 180)
    assert facts.duration_s == pytest.approx(2.0, abs=0.01)


GOOD = {
    "index last": "-c:v libx264 -preset ultrafast -pix_fmt yuv420p",
    "with sound": f"-f lavfi -i sine=d=2 {H264} -c:a aac -shortest",
    "fine time scale": f"{H264} -bf 2 -video_track_timescale 90000",
}


@pytest.mark.parametrize("options", GOOD.values(), ids=GOOD.keys())
def test_good_clips(check: Check, tmp_path: Path, options: str) -> None:
    facts = check(render(tmp_path / "made.mp4", options).read_bytes())
    assert facts.duration_s == pytest.approx(2.0, abs=0.1)


def test_a_strange_file_name_is_only_a_name(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "-i 100%d concat:x|y.mp4"
    path.write_bytes(whole)
    facts = asyncio.run(ClipChecker().check(path))
    assert facts.width == 320


# --- No MP4, or not whole. ---

FTYP = b"\0\0\0\x14ftypisom\0\0\0\0isom"
MDAT = b"\0\0\0\x09mdatx"
NO_CLIP = {
    "empty": (b"", "empty"),
    "four bytes": (b"\0\0\0\x18", "not an MP4"),
    "html": (b"<!doctype html><html><body>502 Bad Gateway</body></html>" * 20, "not an MP4"),
    "json": (b'{"status": "FAILED", "error": "internal"}', "not an MP4"),
    "playlist": (b"#EXTM3U\n#EXTINF:5,\nfile:///etc/passwd\n", "not an MP4"),
    "concat list": (b"ffconcat version 1.0\nfile /etc/passwd\n", "not an MP4"),
    "zeros": (bytes(64), "not an MP4"),
    "only ftyp": (FTYP, "missing"),
    "half a header": (FTYP + b"\0\0", "cut short"),
    "a million tiny boxes": (FTYP + b"\0\0\0\x08free" * 1_000_000, "too many boxes"),
    "a giant index": (FTYP + b"\1\0\0\x08moov" + bytes(1 << 24) + MDAT, "too large"),
}


@pytest.mark.parametrize(("content", "detail"), NO_CLIP.values(), ids=NO_CLIP.keys())
def test_what_is_no_clip_is_refused(check: Check, content: bytes, detail: str) -> None:
    with pytest.raises(BadClip, match=detail):
        check(content)


def test_the_boxes_come_once_and_in_their_order(check: Check, whole: bytes) -> None:
    with pytest.raises(BadClip, match="not an MP4"):
        check(patched(whole, 4, b"free"))
    with pytest.raises(BadClip, match="doubled"):
        check(whole + b"\0\0\0\x08moov")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.98, 0.999])
@pytest.mark.parametrize("options", [H264, GOOD["index last"]], ids=["first", "last"])
def test_a_truncated_clip_is_refused(
    check: Check, tmp_path: Path, options: str, share: float
) -> None:
    content = render(tmp_path / "made.mp4", options).read_bytes()
    with pytest.raises(BadClip, match="cut short"):
        check(content[: int(len(content) * share)])


def test_a_clip_truncated_inside_an_open_ended_mdat_is_refused(check: Check, whole: bytes) -> None:
    endless = patched(whole, whole.index(b"mdat") - 4, bytes(4))
    assert check(endless).width == 320
    with pytest.raises(BadClip, match="cut short"):
        check(endless[:-100])


def test_a_hole_of_zeros_is_refused(check: Check, whole: bytes) -> None:
    middle = whole.index(b"mdat") + 4 + (len(whole) - whole.index(b"mdat")) // 3
    with pytest.raises(BadClip, match="decode"):
        check(patched(whole, middle, bytes(len(whole) // 3)))


def test_rotten_bits_are_refused(check: Check, whole: bytes) -> None:
    dice = random.Random(7)  # noqa: S311 — no secret
    rotten = bytearray(whole)
    for _ in range(200):
        rotten[dice.randrange(whole.index(b"mdat") + 1000, len(whole))] ^= 0xFF
    with pytest.raises(BadClip, match="decode"):
        check(bytes(rotten))


# --- Whole, but none that Discord's readers can play. ---

UNPLAYABLE = {
    "hevc": ("-c:v libx265 -preset ultrafast -x265-params log-level=none", "hev1"),
    "mpeg-4 part 2": ("-c:v mpeg4", "mp4v"),
    "4:4:4": ("-c:v libx264 -preset ultrafast -pix_fmt yuv444p", "profile 244"),
    "4:2:2": ("-c:v libx264 -preset ultrafast -pix_fmt yuv422p", "profile 122"),
}


@pytest.mark.parametrize(("options", "detail"), UNPLAYABLE.values(), ids=UNPLAYABLE.keys())
def test_what_does_not_play_is_refused(
    check: Check, tmp_path: Path, options: str, detail: str
) -> None:
    with pytest.raises(BadClip, match=detail):
        check(render(tmp_path / "made.mp4", options).read_bytes())


def test_sound_alone_is_refused(check: Check, tmp_path: Path) -> None:
    content = render(tmp_path / "made.mp4", "-c:a aac", "sine=d=2").read_bytes()
    with pytest.raises(BadClip, match="0 video tracks"):
        check(content)


def test_two_videos_are_refused(check: Check, tmp_path: Path) -> None:
    content = render(tmp_path / "made.mp4", f"-map 0:v -map 0:v {H264}").read_bytes()
    with pytest.raises(BadClip, match="2 video tracks"):
        check(content)


def test_more_than_a_minute_is_refused(check: Check, tmp_path: Path) -> None:
    content = render(tmp_path / "made.mp4", source="color=s=64x64:r=1:d=62").read_bytes()
    with pytest.raises(BadClip, match=r"it lasts 62\.0 s"):
        check(content)


def test_more_pictures_than_a_clip_can_have_are_refused(check: Check, tmp_path: Path) -> None:
    content = render(tmp_path / "made.mp4", source="color=s=64x64:r=400:d=55").read_bytes()
    with pytest.raises(BadClip, match="index is too long"):
        check(content)


# --- An index that lies. ---


def test_a_lying_duration_is_refused(check: Check, whole: bytes) -> None:
    for header, at in ((b"mvhd", 20), (b"mdhd", 20)):
        lie = patched(whole, whole.index(header) + at, struct.pack(">I", 2_000_000_000))
        with pytest.raises(BadClip):
            check(lie)


def test_a_lying_size_is_refused(check: Check, whole: bytes) -> None:
    size_at = whole.index(b"avc1", whole.index(b"stsd")) + 4 + 24
    with pytest.raises(BadClip, match="at most 4096"):
        check(patched(whole, size_at, struct.pack(">HH", 8192, 8192)))
    with pytest.raises(BadClip, match="its frames do not"):
        check(patched(whole, size_at, struct.pack(">HH", 640, 360)))


def test_a_huge_video_in_a_small_frame_is_refused(check: Check, tmp_path: Path) -> None:
    huge = render(tmp_path / "made.mp4", source="color=s=8192x4352:r=1:d=2").read_bytes()
    size_at = huge.index(b"avc1", huge.index(b"stsd")) + 4 + 24
    with pytest.raises(BadClip, match="decode"):
        check(patched(huge, size_at, struct.pack(">HH", 1280, 720)))


def test_a_lying_count_is_refused(check: Check, whole: bytes) -> None:
    count_at = whole.index(b"stsz") + 4 + 8
    for count in (23, 25, 0, 1 << 31, (1 << 32) - 1):
        with pytest.raises(BadClip):
            check(patched(whole, count_at, struct.pack(">I", count)))


LEAVES = [b"mvhd", b"mdhd", b"hdlr", b"stsd", b"stts", b"stsz", b"stco"]
STUMPS = [(kind, kept) for kind in LEAVES for kept in (0, 1, 4, 8)]


@pytest.mark.parametrize(("kind", "kept"), [*STUMPS, (b"avcC", 0), (b"avcC", 1)])
def test_a_box_that_is_too_short_is_refused(
    check: Check, whole: bytes, kind: bytes, kept: int
) -> None:
    start = whole.index(kind) - 4
    (size,) = struct.unpack_from(">I", whole, start)
    # The box gives what it loses to another one: everything around it stays right.
    rest = struct.pack(">I4s", size - 8 - kept, b"free")
    shorter = patched(whole, start, struct.pack(">I", 8 + kept))
    with pytest.raises(BadClip):
        check(patched(shorter, start + 8 + kept, rest))


def test_an_index_that_does_not_add_up_is_refused(check: Check, whole: bytes) -> None:
    trak_at, stco_at = whole.index(b"trak") - 4, whole.index(b"stco") + 4
    for size in (0, 7, len(whole)):
        with pytest.raises(BadClip, match="damaged"):
            check(patched(whole, trak_at, struct.pack(">I", size)))
    with pytest.raises(BadClip, match="index is cut short"):
        check(patched(whole, stco_at + 4, struct.pack(">I", 100)))
    with pytest.raises(BadClip, match="time scale"):
        check(patched(whole, whole.index(b"mdhd") + 16, bytes(4)))


def test_a_chunk_outside_the_data_is_refused(check: Check, whole: bytes) -> None:
    offset_at = whole.index(b"stco") + 4 + 8
    for offset in (0, len(whole), 1 << 31):
        with pytest.raises(BadClip, match="cut short"):
            check(patched(whole, offset_at, struct.pack(">I", offset)))


def test_three_thousand_damaged_indexes_only_ever_raise_bad_clip(
    tmp_path: Path, whole: bytes
) -> None:
    dice = random.Random(1)  # noqa: S311 — no secret
    path = tmp_path / "clip.mp4"
    end = whole.index(b"mdat")
    refused = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(dice.choice((1, 1, 2, 8))):
            at = dice.randrange(end)
            damaged[at : at + 4] = dice.choice(
                (bytes(4), b"\xff" * 4, dice.randbytes(4), struct.pack(">I", dice.randrange(64)))
            )
        path.write_bytes(damaged[: len(whole)])
        try:
            read_facts(path)
        except BadClip:
            refused += 1
    assert refused > 1000


def test_deeply_nested_boxes_do_not_recurse(check: Check) -> None:
    nested = b""
    for _ in range(5000):
        nested = struct.pack(">I4s", len(nested) + 8, b"trak") + nested
    moov = struct.pack(">I4s", len(nested) + 8, b"moov") + nested
    with pytest.raises(BadClip):
        check(FTYP + moov + MDAT)


def test_checking_leaves_nothing_behind(check: Check, tmp_path: Path, whole: bytes) -> None:
    check(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


# --- Checks that come to no verdict. ---

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds of 1280 x 720, which take a while to check."""
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    return render(path, source="testsrc2=s=1280x720:r=30:d=20")


async def ffmpeg_at(path: Path) -> int:
    while not (found := processes_at(path)):
        await asyncio.sleep(0.01)
    return found[0]


def processes_at(path: Path) -> list[int]:
    """Return the processes that were started with that file as an argument."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # It has just ended.
            if f"file:{path}".encode() in cmdline.read_bytes():
                found.append(int(cmdline.parent.name))
    return found


@linux_only
async def test_a_cancelled_check_kills_ffmpeg(long: Path) -> None:
    task = asyncio.create_task(ClipChecker().check(long))
    await ffmpeg_at(long)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes_at(long)


@linux_only
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGXCPU"])
async def test_a_check_that_was_stopped_is_no_verdict(long: Path, name: str) -> None:
    task = asyncio.create_task(ClipChecker().check(long))
    ffmpeg = await ffmpeg_at(long)
    await asyncio.sleep(0.1)  # By now it handles what can be handled.
    os.kill(ffmpeg, signal.Signals[name])
    with pytest.raises(ClipUnchecked, match="stop"):
        await task


async def test_a_check_without_time_is_no_verdict(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = Limits(wall_s=0.05, cpu_s=90, memory_bytes=1 << 30, file_bytes=1)
    monkeypatch.setattr(clip_module, "LIMITS", hasty)
    with pytest.raises(ClipUnchecked, match="stopped: after"):
        await ClipChecker().check(long)
