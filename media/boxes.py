"""A bounded walk over an MP4's boxes (ISO/IEC 14496-12 and -15): what it is, and whether whole.

Nothing is decoded and nothing recurses: the path moov/trak/mdia/minf/stbl is followed by name,
and every count is capped before it is used.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.errors import BadClip

_HEADER_BYTES = 8
_MAX_SIDE = 4096
_MAX_DURATION_S = 60
_MAX_MOOV_BYTES = 8 << 20  # That of a minute is some 100 kB.
_MAX_BOXES = 64
_MAX_ENTRIES = 20_000  # A minute at 240 frames per second has 14,400.
_DURATION_SLACK_S = 1.0
# H.264 profiles beyond 4:2:0, which browsers do not play: CAVLC 4:4:4, High 4:2:2, High 4:4:4.
_UNPLAYABLE_PROFILES = frozenset({44, 122, 244})
# Lengths of an avc1 entry's fixed fields, and where in them its size stands.
_AVC1_FIELDS_BYTES, _AVC1_SIZE_AT = 78, 24
_CUT_SHORT = "the file is cut short"


@dataclass(frozen=True)
class ClipFacts:
    """What a clip is: size in pixels, length in seconds, codec ("h264")."""

    width: int
    height: int
    duration_s: float
    codec: str


@dataclass(frozen=True)
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
    for index in range(_MAX_BOXES):
        if position == size and index:
            return
        file.seek(position)
        box = _top_box(file.read(16), position, size)
        if index == 0 and box.kind != b"ftyp":
            raise BadClip("it is not an MP4")
        if box.end > size:
            raise BadClip(_CUT_SHORT)
        yield box
        position = box.end
    raise BadClip("it has too many boxes")


def _top_box(header: bytes, position: int, file_size: int) -> _Box:
    if not header:
        raise BadClip("the file is empty")
    header_size = _HEADER_BYTES
    try:
        size, kind = struct.unpack_from(">I4s", header)
        if size == 1:
            header_size = 16
            (size,) = struct.unpack_from(">Q", header, 8)
    except struct.error:
        raise BadClip(_CUT_SHORT if position else "it is not an MP4") from None
    if size == 0:  # It goes on to the end of the file.
        size = file_size - position
    if size < header_size:
        raise BadClip("it is not an MP4")
    return _Box(kind, position + header_size, position + size)


def _read(file: BinaryIO, box: _Box) -> memoryview:
    if box.end - box.start > _MAX_MOOV_BYTES:
        raise BadClip("its index is too large")
    file.seek(box.start)
    return memoryview(file.read(box.end - box.start))


def _children(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    position = 0
    for _ in range(_MAX_BOXES):
        if len(data) - position < _HEADER_BYTES:  # QuickTime ends some boxes with four zeros.
            return
        size, kind = struct.unpack_from(">I4s", data, position)
        if not _HEADER_BYTES <= size <= len(data) - position:
            raise BadClip("its index is damaged")
        yield kind, data[position + _HEADER_BYTES : position + size]
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
    if not 0 < movie_s <= min(_MAX_DURATION_S, max(lengths_s) + _DURATION_SLACK_S):
        raise BadClip(f"it claims to last {movie_s:.1f} s")
    width, height = _read_avc1(_find(videos[0], b"mdia", b"minf", b"stbl", b"stsd"))
    return ClipFacts(width, height, lengths_s[0], "h264")


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
    if timed != count or abs(ticks - claimed_ticks) > _DURATION_SLACK_S * scale:
        raise BadClip("its index contradicts itself about its length")
    if not 0 < length_s <= _MAX_DURATION_S:
        raise BadClip(f"it lasts {length_s:.1f} s, at most {_MAX_DURATION_S}")
    return length_s


def _entries(data: memoryview, layout: str, at: int, count: int) -> Iterator[tuple[int, ...]]:
    if count > _MAX_ENTRIES:
        raise BadClip("its index is too long")
    size = count * struct.calcsize(layout)
    if len(data) - at < size:
        raise BadClip("its index is cut short")
    return struct.iter_unpack(layout, data[at : at + size])


def _check_samples(stsz: memoryview, data_bytes: int) -> int:
    each, count = struct.unpack_from(">4xII", stsz)
    total = each * count if each else sum(size for (size,) in _entries(stsz, ">I", 12, count))
    if not 0 < total <= data_bytes:
        raise BadClip(_CUT_SHORT)
    return int(count)


def _check_chunks(table: memoryview, mdats: list[_Box]) -> None:
    wide = any(kind == b"co64" for kind, _ in _children(table))
    chunks = _find(table, b"co64" if wide else b"stco")
    (count,) = struct.unpack_from(">4xI", chunks)
    for (offset,) in _entries(chunks, ">Q" if wide else ">I", 8, count):
        if not any(box.start <= offset < box.end for box in mdats):
            raise BadClip(_CUT_SHORT)


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
    width, height = struct.unpack_from(">HH", entry, _AVC1_SIZE_AT)
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise BadClip(f"its size is {width} x {height}, at most {_MAX_SIDE} a side")
    (profile,) = struct.unpack_from(">xB", _find(entry[_AVC1_FIELDS_BYTES:], b"avcC"))
    if profile in _UNPLAYABLE_PROFILES:
        raise BadClip(f"its H.264 profile {profile} does not play in browsers")
    return width, height
