"""Images sent as base64 text, in the forms that clients send."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

_DATA_URI = re.compile(r"data:([^,]*),", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]{0,30}://", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")
_PATH = re.compile(r"[^\n]{0,4000}\.[A-Za-z]{3,4}|[/~.][^\n]{0,4000}")
_SHORTEST_IMAGE = 72  # characters: the 54 bytes of a BMP's header; shorter text without padding is a path or a name


def decode(text: str) -> bytes:
    """Decode base64, also as a data URI, in lines, in the URL-safe alphabet, or without padding.

    Raises:
        ValueError: it isn't base64; the message, which has no subject, says what it is and what to send.
    """
    encoded = text.strip()
    if uri := _DATA_URI.match(encoded):
        if not uri[1].lower().endswith(";base64"):
            raise ValueError("is a data URI without base64: send the image's bytes as base64")
        encoded = unquote(encoded[uri.end() :])
    elif _URL.match(encoded):
        raise ValueError("is a URL: send the image's bytes as base64")
    encoded = "".join(line.strip() for line in encoded.splitlines()).translate(_URL_SAFE)
    try:
        if len(encoded) % 4 and len(encoded) < _SHORTEST_IMAGE:
            raise ValueError
        encoded = encoded.rstrip("=")
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise ValueError(_obstacle(text.strip(), encoded)) from None


def _obstacle(text: str, encoded: str) -> str:
    if text.startswith(("b'", 'b"')):
        return "is base64 as Python prints bytes, with b and quotation marks: send base64.b64encode(data).decode()"
    if _PATH.fullmatch(text):
        return "is a file's path: send the file's bytes as base64"
    if re.search(r"[A-Za-z0-9+/] +[A-Za-z0-9+/]", encoded):
        return "has spaces inside its base64, perhaps instead of +: send it unchanged"
    if re.fullmatch(r"[A-Za-z0-9+/]*", encoded):
        return "is base64 whose end is missing: send all of it"
    return "is not base64"
