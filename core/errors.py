"""Everything that can end a request or a job, as classes.

The cogs own the one table that turns each class into a sentence; a job row stores the class's
name and `detail`, so that the sentence can be said again after a restart. `detail` is what the
other side said in its own words: shown to a member only after escaping, never trusted.
"""

from __future__ import annotations


class DailiesError(Exception):
    """Base of all errors that a person may be told about."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


# --- Refused at the door: nothing was held, nothing was sent. ---


class RequestRefused(DailiesError):
    """The request was not accepted; no job exists."""


class GuildOnly(RequestRefused):
    """Videos are paid from a server's budget, so there are none in direct messages."""


class EmptyPrompt(RequestRefused):
    """The prompt has no visible character."""


class PromptTooLong(RequestRefused):
    """The prompt is longer than the limit; `detail` is that limit in characters."""


class UnsupportedWish(RequestRefused):
    """No model makes what was asked; `detail` names the wish and what would work."""


class NotEnoughCredits(RequestRefused):
    """The guild's free credits do not cover the hold.

    Attributes:
        needed: credits of the hold.
        available: free credits of the guild.
    """

    def __init__(self, needed: int, available: int) -> None:
        super().__init__(f"{needed} needed, {available} available")
        self.needed = needed
        self.available = available


class MissingRights(RequestRefused):
    """The bot may not post a clip in this channel; `detail` names the missing permissions."""


class TooBusy(RequestRefused):
    """Too many images are being prepared at this moment."""


class BadImage(RequestRefused):
    """The attached image cannot be a start frame; `detail` says what is wrong with it."""


class ImageUnreachable(RequestRefused):
    """The attached image could not be downloaded from Discord."""


# --- A provider's answers. ---


class ProviderError(DailiesError):
    """Something between us and a provider."""


class NotSubmitted(ProviderError):
    """The submit certainly made nothing (429, refused connection): it may be tried again.

    Attributes:
        retry_after_s: seconds that the provider asks us to wait, if it said so.
    """

    def __init__(self, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class SubmitInDoubt(ProviderError):
    """Nobody can tell whether the submit made a video; it must never be repeated blindly."""


class PollFailed(ProviderError):
    """A poll brought no verdict (network, 5xx, unreadable answer): ask again later."""


class JobEnded(DailiesError):
    """The job ended without a video in the channel; its credits were released."""


class ProviderKeyRejected(ProviderError, JobEnded):
    """401 or 403: the operator's key is missing, wrong or not allowed."""


class ProviderOutOfCredits(ProviderError, JobEnded):
    """402 or 406: the operator's account at the provider is empty."""


class ModelGone(ProviderError, JobEnded):
    """404, 405 or 410 at submit: the provider does not offer this model any more."""


class RequestRejected(ProviderError, JobEnded):
    """The provider refused the parameters; `detail` is its words."""


class ModerationRefused(ProviderError, JobEnded):
    """The provider's moderation refused the prompt or the start frame; `detail` is its words."""


class GenerationFailed(ProviderError, JobEnded):
    """The provider accepted the job and then failed it; `detail` is its words."""


class NoOrdersTaken(JobEnded):
    """The provider took no order of this job for as long as we ask."""


class GenerationExpired(JobEnded):
    """The provider gave no verdict before the job's deadline."""


class SubmitLost(JobEnded):
    """A submit stayed in doubt: its credits were released, the provider may have billed it."""


class ResultGone(JobEnded):
    """The provider made the clip, but its file can no longer be downloaded."""


class BadClip(JobEnded):
    """The provider's file is not a whole, playable MP4; `detail` says what is wrong."""


class Undeliverable(JobEnded):
    """Discord will never take this message in this channel."""


class ClipTooLarge(Undeliverable):
    """The clip is larger than what may be posted in this channel."""


class ChannelGone(Undeliverable):
    """The channel was deleted or the bot may no longer post there."""


class PostRefused(Undeliverable):
    """Discord refused the message itself; `detail` is its words."""


class InternalTrouble(JobEnded):
    """A fault of our own; `detail` is the reference that stands in the log beside it."""


# --- Downloads. ---


class FetchError(DailiesError):
    """A download by the guarded fetcher did not succeed."""


class FetchForbidden(FetchError):
    """The address is none that we fetch from (scheme, host, port or private network)."""


class FetchTooLarge(FetchError):
    """The file is larger than the cap."""


class FetchGone(FetchError):
    """The server says that the file is not there (any more): 401, 403, 404, 410."""


class FetchFailed(FetchError):
    """Network trouble, 5xx, or too slow: may be tried again."""


class ClipUnchecked(DailiesError):
    """The check of a clip came to no verdict (no memory, no time): may be tried again."""


# --- Delivery. ---


class DeliveryFailed(DailiesError):
    """Discord did not take the message this time: may be tried again."""


def by_name(name: str, detail: str) -> JobEnded:
    """Rebuild the error that a job row recorded.

    Raises:
        KeyError: `name` is no end of a job.
    """
    cls = globals()[name]
    if not (isinstance(cls, type) and issubclass(cls, JobEnded)):
        raise KeyError(name)
    return cls(detail)
