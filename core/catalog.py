"""What a model can do and what it costs, as data; `providers.catalog` holds the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UnsupportedWish

if TYPE_CHECKING:
    from core.video import VideoRequest


@dataclass(frozen=True, slots=True)
class Model:
    """One model of one provider. The first of each tuple is the default.

    Attributes:
        list_price: credits (US$0.01) a clip at most, before the operator's markup.
        usual_wait_s: seconds that a clip usually takes, as the provider states.
    """

    provider: str
    name: str
    aspects: tuple[str, ...]
    durations_s: tuple[int, ...]
    resolutions: tuple[str, ...]
    list_price: int
    usual_wait_s: float

    def check(self, request: VideoRequest) -> None:
        """Refuse what this model does not make.

        Raises:
            UnsupportedWish: naming the wish and what would work.
        """
        if request.aspect not in self.aspects:
            raise UnsupportedWish(_instead("aspect", request.aspect, self.aspects))
        if request.duration_s not in self.durations_s:
            lengths = tuple(f"{seconds}s" for seconds in self.durations_s)
            raise UnsupportedWish(_instead("duration", f"{request.duration_s}s", lengths))
        if request.resolution not in self.resolutions:
            raise UnsupportedWish(_instead("resolution", request.resolution, self.resolutions))


def _instead(wish: str, value: str, allowed: tuple[str, ...]) -> str:
    return f"{wish} {value} (possible: {', '.join(allowed)})"
