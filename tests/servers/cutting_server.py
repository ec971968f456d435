"""A server of files that cuts its lines, and goes on when asked to."""

from __future__ import annotations

from listening import LoopbackServer, QuietHandler

MOST = 20  # requests; then 404, so that a client that never ends does


class CuttingServer(LoopbackServer):
    """Gives `content` at /file.

    Attributes:
        cut_after: bytes after which the answers to come are cut, one each; then answers are whole.
        ranges: whether it goes on from the middle; else every answer begins at the beginning.
        statuses: what the next answers are instead of the file.
        etag: the content's mark.
        asked: the Range of each request, None where there was none.
    """

    def __init__(
        self, content: bytes, cut_after: list[int], ranges: bool = True, statuses: tuple[int, ...] = ()
    ) -> None:
        self.content, self.cut_after, self.ranges, self.statuses = content, cut_after, ranges, list(statuses)
        self.etag = '"first"'
        self.asked: list[str | None] = []
        super().__init__(_Answer)

    @property
    def address(self) -> str:
        return f"{super().address}/file"


class _Answer(QuietHandler):
    server: CuttingServer

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        if self.server.statuses or len(self.server.asked) > MOST:
            self.send_response(self.server.statuses.pop(0) if self.server.statuses else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first = 0
        if wanted and self.server.ranges and self.headers["If-Range"] == self.server.etag:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header(
                "Content-Range", f"bytes {first}-{len(self.server.content) - 1}/{len(self.server.content)}"
            )
        else:
            self.send_response(200)
        rest = self.server.content[first:]
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        cut = self.server.cut_after.pop(0) if self.server.cut_after else len(rest)
        self.wfile.write(rest[:cut])
        self.close_connection = True
