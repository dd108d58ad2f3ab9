import asyncio
import json
import subprocess
import sys
from pathlib import Path

import av
import pytest
from PIL import Image, ImageChops, ImageFont, ImageOps, ImageStat

from sandbox.providers import render as renderer
from sandbox.providers.render import Order, RenderFailed, frame_size, render


def order(out: Path, **wishes: object) -> Order:
    small = {"prompt": "a red fox", "aspect": "16:9", "resolution": "360p", "duration_s": 1}
    return Order(**{**small, "out": str(out), **wishes})  # type: ignore[arg-type]  # JSON-like


def picture_of(frame: av.VideoFrame) -> Image.Image:
    picture = frame.to_image()  # type: ignore[no-untyped-call]  # PyAV leaves it untyped
    assert isinstance(picture, Image.Image)
    return picture


def frames_of(clip: Path) -> list[Image.Image]:
    with av.open(clip) as container:
        return [picture_of(frame) for frame in container.decode(video=0)]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures of the same size, 0 to 255."""
    channels = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(channels) / len(channels)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A wide picture that differs everywhere, so that a wrong crop shows."""
    across = Image.linear_gradient("L").rotate(90).resize((900, 300))
    down = Image.linear_gradient("L").resize((900, 300))
    path = tmp_path / "photo.png"
    Image.merge("RGB", (across, down, Image.new("L", (900, 300), 90))).save(path)
    return path


@pytest.mark.parametrize(
    ("aspect", "resolution", "size"),
    [
        ("16:9", "720p", (1280, 720)),
        ("9:16", "720p", (720, 1280)),
        ("1:1", "720p", (720, 720)),
        ("21:9", "720p", (1680, 720)),
        ("4:3", "720p", (960, 720)),
        ("3:4", "720p", (720, 960)),
        ("16:9", "540p", (960, 540)),
        ("16:9", "1080p", (1920, 1080)),
    ],
)
def test_the_short_side_is_the_resolution(
    aspect: str, resolution: str, size: tuple[int, int]
) -> None:
    assert frame_size(aspect, resolution) == size


@pytest.mark.parametrize("resolution", ["360p", "540p", "720p", "1080p"])
@pytest.mark.parametrize("aspect", ["16:9", "9:16", "1:1", "21:9", "4:3", "3:4"])
def test_every_size_is_even_and_has_its_aspect(aspect: str, resolution: str) -> None:
    width, height = frame_size(aspect, resolution)
    across, down = map(int, aspect.split(":"))
    assert width % 2 == height % 2 == 0
    assert width / height == pytest.approx(across / down, rel=0.01)


@pytest.mark.parametrize(
    ("aspect", "resolution", "duration_s"), [("16:9", "720p", 5), ("21:9", "360p", 10)]
)
async def test_the_clip_is_h264_of_the_asked_shape(
    tmp_path: Path, aspect: str, resolution: str, duration_s: int
) -> None:
    clip = tmp_path / "clip.mp4"
    await render(order(clip, aspect=aspect, resolution=resolution, duration_s=duration_s))
    with av.open(clip) as container:
        video = container.streams.video[0]
        context = video.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (video.width, video.height) == frame_size(aspect, resolution)
        assert context.colorspace == av.video.reformatter.Colorspace.ITU709
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(duration_s, abs=0.05)
    content = clip.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "does not start before it is loaded"


async def test_the_same_prompt_makes_the_same_clip_and_another_prompt_another(
    tmp_path: Path,
) -> None:
    clips = [tmp_path / name for name in ("one.mp4", "same.mp4", "other.mp4")]
    await render(order(clips[0]))
    await render(order(clips[1]))
    await render(order(clips[2], prompt="a green boat"))
    assert clips[0].read_bytes() == clips[1].read_bytes()
    assert difference(frames_of(clips[0])[0], frames_of(clips[2])[0]) > 10


async def test_the_start_frame_is_the_first_frame_and_then_the_camera_moves(
    tmp_path: Path, photo: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    await render(order(clip, aspect="9:16", duration_s=2, start_frame=str(photo)))
    frames = frames_of(clip)
    expected = ImageOps.fit(Image.open(photo), frame_size("9:16", "360p"))
    assert difference(frames[0], expected) < 3
    assert difference(frames[-1], expected) > 6


async def test_the_caption_appears_after_half_a_second(tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.new("RGB", (640, 360), (90, 90, 90)).save(grey)
    clip = tmp_path / "clip.mp4"
    await render(order(clip, duration_s=2, start_frame=str(grey), prompt="words " * 9))
    brightest = [ImageStat.Stat(frame.convert("L")).extrema[0][1] for frame in frames_of(clip)]
    assert max(brightest[:6]) < 110
    assert brightest[-1] > 240


@pytest.mark.parametrize(
    "prompt", ['it\'s 50% : [x] \\ "quoted"', "é ñ Привет 狐 🦊", "x" * 3000, "one\n\ntwo"]
)
async def test_any_prompt_is_drawn(tmp_path: Path, prompt: str) -> None:
    clip = tmp_path / "clip.mp4"
    await render(order(clip, prompt=prompt))
    assert len(frames_of(clip)) == renderer.FPS


def test_a_long_caption_is_cut_with_an_ellipsis() -> None:
    font = ImageFont.truetype(renderer.FONT, 20, layout_engine=ImageFont.Layout.BASIC)
    lines = renderer.wrap("a long way to go " * 30, font, 300)
    assert len(lines) == renderer.CAPTION_LINES
    assert lines[-1].endswith("…")
    assert all(font.getlength(line) <= 300 for line in lines)


async def test_a_start_frame_that_is_no_picture_fails_with_one_line(tmp_path: Path) -> None:
    text = tmp_path / "photo.png"
    text.write_text("not a picture")
    with pytest.raises(RenderFailed, match=r"^[^\n]*cannot identify image[^\n]*$"):
        await render(order(tmp_path / "clip.mp4", start_frame=str(text)))


async def test_a_cancelled_render_stops(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    task = asyncio.create_task(render(order(clip, resolution="1080p", duration_s=10)))
    while not clip.exists():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while b"moov" not in clip.read_bytes():
            await asyncio.sleep(0.1)
    assert len(frames_of(clip)) < 10 * renderer.FPS


def test_the_renderer_is_a_program_of_its_own(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    wish = {"prompt": "x", "aspect": "1:1", "resolution": "360p", "duration_s": 1, "out": str(clip)}
    command = [sys.executable, "-m", "sandbox.providers.render"]
    subprocess.run(command, input=json.dumps(wish).encode(), check=True)  # noqa: S603 — ours
    assert len(frames_of(clip)) == renderer.FPS
