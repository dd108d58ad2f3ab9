"""The models that Dailies can order, as data."""

from __future__ import annotations

from core.catalog import Model

LUMA_RAY_3_2 = Model(
    provider="segmind",
    name="luma-ray-3-2",
    aspects=("16:9", "9:16", "1:1", "4:3", "3:4", "21:9"),
    durations_s=(5, 10),
    resolutions=("720p", "360p", "540p", "1080p"),
    # Segmind lists an average of US$1.32 a clip, and 51.66 s; what it charges is captured.
    list_price=132,
    usual_wait_s=52.0,
)
