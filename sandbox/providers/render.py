"""Renders the emulated providers' clips: real H.264, a picture of its own for every prompt.

Pillow draws the frames and pipes them raw into ffmpeg, which only encodes: a prompt never gets
near a filtergraph. A clip is made in a child process (`python -m sandbox.providers.render`, the
order as JSON on standard input), so that the server's event loop never waits for a frame.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import imageio_ffmpeg  # type: ignore[import-untyped]  # it ships no annotations
from PIL import Image, ImageDraw, ImageFont, ImageOps

from sandbox.providers.scenery import Scenery, paint

FPS = 12
ZOOM = 1.2
FONT = Path(__file__).parents[1] / "fonts" / "DejaVuSans-Bold.ttf"
TAG = "Dailies sandbox"
CAPTION_FROM_S, CAPTION_FULL_S = 0.5, 1.0
CAPTION_LINES, CAPTION_CHARS = 3, 400


class RenderFailed(Exception):
    """The clip could not be made; the message is the renderer's last line."""


@dataclass(frozen=True)
class Order:
    """One clip to make. `aspect` is "W:H", `resolution` the short side ("720p")."""

    prompt: str
    aspect: str
    resolution: str
    duration_s: float
    out: str
    start_frame: str | None = None


def frame_size(aspect: str, resolution: str) -> tuple[int, int]:
    """Return width and height in pixels, both even; the short side is the resolution's name.

    So 720p is 1280x720 for 16:9, 720x1280 for 9:16, 720x720 for 1:1, 1680x720 for 21:9.
    """
    across, down = (int(part) for part in aspect.split(":"))
    short = int(resolution.removesuffix("p"))
    long = 2 * round(short * max(across, down) / min(across, down) / 2)
    return (long, short) if across > down else (short, long)


async def render(order: Order) -> None:
    """Make the clip in a child process, which is killed if the caller is cancelled.

    Raises:
        RenderFailed: the start frame is not a picture, or ffmpeg failed.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        _, complaints = await child.communicate(json.dumps(asdict(order)).encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        lines = complaints.decode(errors="replace").strip().splitlines()
        raise RenderFailed(lines[-1] if lines else f"exit status {child.returncode}")


# --- Below: what runs in the child. ---


@dataclass(frozen=True)
class Camera:
    """A slow move. `zoom` and `look` go from first to last; `look` is -1…1 of the free margin."""

    zoom: tuple[float, float]
    look_x: tuple[float, float]
    look_y: tuple[float, float]

    def box(
        self, size: tuple[int, int], depth: float, progress: float
    ) -> tuple[float, float, float, float]:
        """Return what is seen of a layer: the nearer (`depth` up to 1), the more it moves."""
        eased = progress * progress * (3 - 2 * progress)
        zoom, look_x, look_y = (
            first + (last - first) * eased for first, last in (self.zoom, self.look_x, self.look_y)
        )
        seen = 1 / (1 + (zoom - 1) * depth)
        left = size[0] * (1 - seen) / 2 * (1 + look_x)
        top = size[1] * (1 - seen) / 2 * (1 + look_y)
        return left, top, left + size[0] * seen, top + size[1] * seen


def choose_camera(random: Random, *, from_whole_picture: bool) -> Camera:
    """Choose a move; a start frame is shown whole first, so there only a push-in begins right."""
    aim_x, aim_y = random.uniform(-0.6, 0.6), random.uniform(-0.4, 0.4)
    push_in = Camera((1.0, ZOOM), (aim_x, aim_x), (aim_y, aim_y))
    if from_whole_picture:
        return push_in
    pull_out = Camera((ZOOM, 1.0), (aim_x, aim_x), (aim_y, aim_y))
    pan_right = Camera((ZOOM, ZOOM), (-0.9, 0.9), (aim_y, aim_y))
    pan_left = Camera((ZOOM, ZOOM), (0.9, -0.9), (aim_y, aim_y))
    rise = Camera((ZOOM, ZOOM), (aim_x, aim_x), (0.9, -0.9))
    return random.choice((push_in, pull_out, pan_right, pan_left, rise))


class Film:
    """Draws the frames of one clip."""

    def __init__(self, order: Order, size: tuple[int, int]) -> None:
        random = Random(int.from_bytes(hashlib.sha256(order.prompt.encode()).digest()))  # noqa: S311 — a picture, no secret
        self.size = size
        self.camera = choose_camera(random, from_whole_picture=order.start_frame is not None)
        canvas = (math.ceil(size[0] * ZOOM), math.ceil(size[1] * ZOOM))
        self.scenery = (
            Scenery(load_cropped(order.start_frame, canvas))
            if order.start_frame
            else paint(order.prompt, random, canvas)
        )
        caption = draw_caption(order.prompt, size)
        self.caption, self.caption_mask = caption.convert("RGB"), caption.getchannel("A")

    def frame(self, progress: float, second: float) -> Image.Image:
        """Return the frame at `progress` (0…1) of the move, `second` seconds into the clip."""
        back, front = self.scenery.back, self.scenery.front
        # Without a front layer the picture itself is the nearest thing there is.
        frame = self._seen(back, 0.5 if front else 1.0, progress)
        if front:
            frame.paste(front.colour, mask=self._seen(front.mask, 1.0, progress))
        self._add_caption(frame, second)
        return frame

    def _seen(self, layer: Image.Image, depth: float, progress: float) -> Image.Image:
        box = self.camera.box(layer.size, depth, progress)
        return layer.resize(self.size, Image.Resampling.BILINEAR, box=box)

    def _add_caption(self, frame: Image.Image, second: float) -> None:
        shown = (second - CAPTION_FROM_S) / (CAPTION_FULL_S - CAPTION_FROM_S)
        if shown <= 0:
            return
        mask = self.caption_mask
        if shown < 1:
            mask = mask.point([round(alpha * shown) for alpha in range(256)])
        frame.paste(self.caption, mask=mask)


def load_cropped(path: str, size: tuple[int, int]) -> Image.Image:
    """Return the picture upright, cropped in its middle to the aspect of `size`."""
    with Image.open(path) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    return ImageOps.fit(upright, size, Image.Resampling.LANCZOS)


def draw_caption(prompt: str, size: tuple[int, int]) -> Image.Image:
    """Return a transparent picture with the prompt on a soft shadow and the sandbox's tag."""
    width, height = size
    text_px = max(9, min(size) // 19)
    font = ImageFont.truetype(FONT, text_px, layout_engine=ImageFont.Layout.BASIC)
    small = ImageFont.truetype(FONT, max(7, text_px * 5 // 8), layout_engine=font.layout_engine)
    lines = wrap(prompt, font, width - 3 * text_px)
    line_px = round(text_px * 1.35)
    text_top = height - text_px - line_px * len(lines)

    shadow = Image.new("L", size)
    shade_top = max(0, text_top - 2 * line_px)
    slope = Image.linear_gradient("L").resize((width, height - shade_top))
    shadow.paste(slope.point([round(value * 0.75) for value in range(256)]), (0, shade_top))
    picture = Image.merge("RGBA", (*(Image.new("L", size) for _ in range(3)), shadow))

    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((1.5 * text_px, text_top + number * line_px), line, "white", font)
    margin, tag_px = text_px * 0.7, small.size
    left = width - margin - tag_px - small.getlength(TAG)
    draw.rounded_rectangle(
        (left - tag_px, margin, width - margin, margin + 2 * tag_px), tag_px, (0, 0, 0, 120)
    )
    draw.text((left, margin + tag_px), TAG, (255, 255, 255, 230), small, anchor="lm")
    return picture


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Break `text` into at most CAPTION_LINES lines of `width` pixels."""
    lines = [""]
    for word in text[:CAPTION_CHARS].split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    cut = len(lines) > CAPTION_LINES or len(text) > CAPTION_CHARS
    lines = [fit(line, font, width) for line in lines[:CAPTION_LINES]]
    if cut:
        lines[-1] = fit(f"{lines[-1]} …", font, width)
    return lines


def fit(line: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Shorten a line that is too long, as a word without spaces can be."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1].rstrip()
    return f"{line}…"


def make(order: Order) -> None:
    """Draw and encode the clip.

    From 720p on, frames are drawn at half size and ffmpeg enlarges them: half the CPU time.
    """
    width, height = frame_size(order.aspect, order.resolution)
    half = min(width, height) >= 720  # noqa: PLR2004 — "720p" by its name
    drawn = (width // 2, height // 2) if half else (width, height)
    film = Film(order, drawn)
    frames = round(order.duration_s * FPS)
    with subprocess.Popen(encode_command(drawn, (width, height), order.out), stdin=-1) as encoder:  # noqa: S603 — our own arguments, no shell
        assert encoder.stdin  # noqa: S101 — a pipe was asked for
        for number in range(frames):
            picture = film.frame(number / max(1, frames - 1), number / FPS)
            encoder.stdin.write(picture.tobytes())
        encoder.stdin.close()
    if encoder.returncode:
        sys.exit(encoder.returncode)


def encode_command(drawn: tuple[int, int], size: tuple[int, int], out: str) -> list[str]:
    """Return the ffmpeg call that turns raw frames of `drawn` pixels into an MP4 of `size`."""
    source = f"-f rawvideo -pix_fmt rgb24 -s {drawn[0]}x{drawn[1]} -r {FPS} -i -"
    scale = f"scale={size[0]}:{size[1]}:flags=bicubic:out_color_matrix=bt709:out_range=tv"
    codec = "-c:v libx264 -preset ultrafast -crf 21 -movflags +faststart"
    colours = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
    filters = f"-vf {scale},format=yuv420p"
    options = f"-hide_banner -loglevel error -y {source} {filters} {codec} {colours}"
    return [imageio_ffmpeg.get_ffmpeg_exe(), *options.split(), out]


if __name__ == "__main__":
    make(Order(**json.load(sys.stdin)))
