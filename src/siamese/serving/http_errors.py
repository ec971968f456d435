"""A request that isn't answered as asked, whatever the reason: one exception, one shape of answer."""

from __future__ import annotations


class HttpError(Exception):
    """Its text is the sentence that the client gets.

    Attributes:
        status: of HTTP.
        reason: a few words, of a small set: what is counted under it.
        retry_after: seconds after which it's worth while to ask again; None: it isn't.
    """

    def __init__(self, status: int, reason: str, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
