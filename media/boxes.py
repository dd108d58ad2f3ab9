"""A bounded walk over an MP4's boxes (ISO/IEC 14496-12 and -15): what it is, and whether whole.

Nothing is decoded and nothing recurses: the path moov/trak/mdia/minf/stbl is followed by name,
and every count is capped before it is used.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from core.errors import BadClip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER_BYTES = 8
SIDE_MAX = 4096
DURATION_S_MAX = 60
MOOV_BYTES_MAX = 8 << 20  # That of a minute is some 100 kB.
BOXES_MAX = 64
ENTRIES_MAX = 20_000  # A minute at 240 frames per second has 14,400.
DURATION_SLACK_S = 1.0
# H.264 profiles beyond 4:2:0, which browsers do not play: CAVLC 4:4:4, High 4:2:2, High 4:4:4.
UNPLAYABLE_PROFILES = frozenset({44, 122, 244})
# Lengths of an avc1 entry's fixed fields, and where in them its size stands.
AVC1_FIELDS_BYTES, AVC1_SIZE_AT = 78, 24
CUT_SHORT = "the file is cut short"


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What a clip is: size in pixels, length in seconds."""

    width: int
    height: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class _Box:
    """A box at the top of the file; `start` and `end` enclose its payload."""

    kind: bytes
    start: int
    end: int


def read_facts(clip: Path) -> ClipFacts:
    """Walk over a clip's boxes; reads their headers and `moov` (8 MiB at most).

    Raises:
        BadClip: it is not a whole MP4 with one H.264 video of sane size and length.
    """
    with clip.open("rb") as file:
        boxes = list(_top_boxes(file, clip.stat().st_size))
        moovs = [box for box in boxes if box.kind == b"moov"]
        mdats = [box for box in boxes if box.kind == b"mdat"]
        if len(moovs) != 1 or not mdats:
            raise BadClip("its index or its data is missing or doubled")
        moov = _read(file, moovs[0])
    try:
        return _read_moov(moov, mdats)
    except struct.error:
        raise BadClip("its index is cut short") from None


def _top_boxes(file: BinaryIO, size: int) -> Iterator[_Box]:
    position = 0
    for index in range(BOXES_MAX):
        if position == size and index:
            return
        file.seek(position)
        box = _top_box(file.read(16), position, size)
        if index == 0 and box.kind != b"ftyp":
            raise BadClip("it is not an MP4")
        if box.end > size:
            raise BadClip(CUT_SHORT)
        yield box
        position = box.end
    raise BadClip("it has too many boxes")


def _top_box(header: bytes, position: int, file_size: int) -> _Box:
    if not header:
        raise BadClip("the file is empty")
    header_size = HEADER_BYTES
    try:
        size, kind = struct.unpack_from(">I4s", header)
        if size == 1:
            header_size = 16
            (size,) = struct.unpack_from(">Q", header, 8)
    except struct.error:
        raise BadClip(CUT_SHORT if position else "it is not an MP4") from None
    if size == 0:  # It goes on to the end of the file.
        size = file_size - position
    if size < header_size:
        raise BadClip("it is not an MP4")
    return _Box(kind, position + header_size, position + size)


def _read(file: BinaryIO, box: _Box) -> memoryview:
    if box.end - box.start > MOOV_BYTES_MAX:
        raise BadClip("its index is too large")
    file.seek(box.start)
    return memoryview(file.read(box.end - box.start))


def _children(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    position = 0
    for _ in range(BOXES_MAX):
        if len(data) - position < HEADER_BYTES:  # QuickTime ends some boxes with four zeros.
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        if not HEADER_BYTES <= size <= len(data) - position:
            raise BadClip("its index is damaged")
        yield kind, data[position + HEADER_BYTES : position + size]
        position += size
    raise BadClip("its index has too many boxes")


def _find(data: memoryview, *path: bytes) -> memoryview:
    for kind in path:
        found = [payload for name, payload in _children(data) if name == kind]
        if len(found) != 1:
            raise BadClip(f"its index has {len(found)} boxes {kind.decode()!r} instead of one")
        data = found[0]
    return data


def _read_moov(moov: memoryview, mdats: list[_Box]) -> ClipFacts:
    tracks = [payload for kind, payload in _children(moov) if kind == b"trak"]
    videos = [track for track in tracks if _handler(track) == b"vide"]
    sounds = [track for track in tracks if _handler(track) == b"soun"]
    if len(videos) != 1:
        raise BadClip(f"it has {len(videos)} video tracks instead of one")
    lengths_s = [_check_track(track, mdats) for track in videos + sounds]
    scale, ticks = _scale_and_ticks(_find(moov, b"mvhd"))
    movie_s = ticks / scale
    if not 0 < movie_s <= min(DURATION_S_MAX, max(lengths_s) + DURATION_SLACK_S):
        raise BadClip(f"it claims to last {movie_s:.1f} s")
    width, height = _read_avc1(_find(videos[0], b"mdia", b"minf", b"stbl", b"stsd"))
    return ClipFacts(width, height, lengths_s[0])


def _handler(track: memoryview) -> bytes:
    (handler,) = struct.unpack_from(">8x4s", _find(track, b"mdia", b"hdlr"))
    return bytes(handler)


def _scale_and_ticks(header: memoryview) -> tuple[int, int]:
    """Read an `mvhd` or `mdhd`: ticks per second, duration in ticks."""
    (version,) = struct.unpack_from("B", header)
    scale, ticks = struct.unpack_from(">20xIQ" if version == 1 else ">12xII", header)
    if scale == 0:
        raise BadClip("its index has no time scale")
    return scale, ticks


def _check_track(track: memoryview, mdats: list[_Box]) -> float:
    """Check that a track's samples lie in the file's data; its length in seconds."""
    media = _find(track, b"mdia")
    table = _find(media, b"minf", b"stbl")
    count = _check_samples(_find(table, b"stsz"), sum(box.end - box.start for box in mdats))
    _check_chunks(table, mdats)
    scale, claimed_ticks = _scale_and_ticks(_find(media, b"mdhd"))
    timed, ticks = _read_times(_find(table, b"stts"))
    length_s = ticks / scale
    if timed != count or abs(ticks - claimed_ticks) > DURATION_SLACK_S * scale:
        raise BadClip("its index contradicts itself about its length")
    if not 0 < length_s <= DURATION_S_MAX:
        raise BadClip(f"it lasts {length_s:.1f} s, at most {DURATION_S_MAX}")
    return length_s


def _entries(data: memoryview, layout: str, at: int, count: int) -> Iterator[tuple[int, ...]]:
    if count > ENTRIES_MAX:
        raise BadClip("its index is too long")
    size = count * struct.calcsize(layout)
    if len(data) - at < size:
        raise BadClip("its index is cut short")
    return struct.iter_unpack(layout, data[at : at + size])


def _check_samples(stsz: memoryview, data_bytes: int) -> int:
    each, count = struct.unpack_from(">4xII", stsz)
    total = each * count if each else sum(size for (size,) in _entries(stsz, ">I", 12, count))
    if not 0 < total <= data_bytes:
        raise BadClip(CUT_SHORT)
    return int(count)


def _check_chunks(table: memoryview, mdats: list[_Box]) -> None:
    wide = any(kind == b"co64" for kind, _ in _children(table))
    chunks = _find(table, b"co64" if wide else b"stco")
    (count,) = struct.unpack_from(">4xI", chunks)
    for (offset,) in _entries(chunks, ">Q" if wide else ">I", 8, count):
        if not any(box.start <= offset < box.end for box in mdats):
            raise BadClip(CUT_SHORT)


def _read_times(stts: memoryview) -> tuple[int, int]:
    """Sum up an `stts`: how many samples, how many ticks."""
    (count,) = struct.unpack_from(">4xI", stts)
    runs = list(_entries(stts, ">II", 8, count))
    return sum(samples for samples, _ in runs), sum(samples * ticks for samples, ticks in runs)


def _read_avc1(stsd: memoryview) -> tuple[int, int]:
    entries = list(_children(stsd[8:]))
    if len(entries) != 1 or entries[0][0] != b"avc1":
        names = ", ".join(kind.decode("ascii", "replace") for kind, _ in entries)
        raise BadClip(f"its codec is {names!r} instead of H.264")
    entry = entries[0][1]
    width, height = struct.unpack_from(">HH", entry, AVC1_SIZE_AT)
    if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX):
        raise BadClip(f"its size is {width} x {height}, at most {SIDE_MAX} a side")
    (profile,) = struct.unpack_from(">xB", _find(entry[AVC1_FIELDS_BYTES:], b"avcC"))
    if profile in UNPLAYABLE_PROFILES:
        raise BadClip(f"its H.264 profile {profile} does not play in browsers")
    return width, height
