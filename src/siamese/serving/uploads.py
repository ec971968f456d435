"""Images from the body of a request: multipart files, or base64 in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.requests import Request

from siamese.data.images import base64_images
from siamese.serving.http_errors import HttpError

MULTIPART, JSON = "multipart/form-data", "application/json"

Fields = Mapping[str, int | None]  # name of a field: most images in it; None: it holds one, and isn't a list


def refuse_other_kinds(headers: Headers) -> None:
    """Raises `Refused` unless the body is MULTIPART or JSON, and not compressed."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (MULTIPART, JSON):
        raise HttpError(
            415, "content type", f"Content-Type is {_quoted(kind) if kind else 'missing'}: send {MULTIPART} or {JSON}"
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpError(415, "content type", "the body is compressed: send it without Content-Encoding")


async def body_of(request: Request, most: int) -> bytes:
    """The body, which isn't read beyond `most` bytes.

    Raises:
        Refused: it is larger, or says so.
        ClientDisconnect: the client has gone.
    """
    too_large = HttpError(413, "body too large", f"the body is larger than {most} bytes: send smaller images")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > most:
            raise too_large
        body += chunk
    return bytes(body)


def images_of(content_type: str, body: bytes, fields: Fields) -> dict[str, list[bytes]]:
    """The bytes of the images in each field, in the order of `fields`, not looked at yet.

    Args:
        content_type: the header.
        body: a body of that type.
        fields: what must be in it, and nothing else.

    Raises:
        Refused: it is damaged (status 400), or holds other fields than asked for, or more or fewer images (422).
    """
    multipart = content_type.partition(";")[0].strip().lower() == MULTIPART
    found = _from_multipart(content_type, body, fields) if multipart else _from_json(body, fields)
    for name in fields:
        if not found.get(name):
            raise _wrong(f"{_quoted(name)} is missing: send {_wanted(fields)}")
    return {name: found[name] for name in fields}


def _from_multipart(content_type: str, body: bytes, fields: Fields) -> dict[str, list[bytes]]:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise HttpError(400, "malformed body", "Content-Type names no boundary: let the client set this header")
    parts = _Parts(fields)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise HttpError(
            400, "malformed body", f"the body is not {MULTIPART} with the boundary of its Content-Type"
        ) from None
    if not parts.ended:
        raise HttpError(400, "malformed body", "the body ends before its last boundary")
    return parts.images


class _Parts:
    """What the parser's callbacks gather."""

    def __init__(self, fields: Fields) -> None:
        self.images: dict[str, list[bytes]] = {}
        self.ended = False
        self._fields = fields
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._data = bytearray()
        self._name = ""

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition = b""
        self._data = bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_end(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"name", b"").decode("utf-8", "replace")
        if name not in self._fields:
            raise _wrong(f"{_quoted(name)} is no field: send {_wanted(self._fields)}")
        if len(self.images.get(name, [])) == (self._fields[name] or 1):
            raise _too_many(name, self._fields)
        self._name = name

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _part_end(self) -> None:
        self.images.setdefault(self._name, []).append(bytes(self._data))

    def _end(self) -> None:
        self.ended = True


def _from_json(body: bytes, fields: Fields) -> dict[str, list[bytes]]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise HttpError(400, "malformed body", "the body is not JSON") from None
    if not isinstance(found, dict):
        raise _wrong(f"the body is no JSON object: send {_wanted(fields)}")
    for name in found:
        if name not in fields:
            raise _wrong(f"{_quoted(name)} is no field: send {_wanted(fields)}")
    return {name: _decoded(name, value, fields) for name, value in found.items()}


def _decoded(name: str, value: Any, fields: Fields) -> list[bytes]:
    most = fields[name]
    texts = [value] if most is None else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong(f"{_quoted(name)} must be {'an image' if most is None else 'a list of images'} as base64")
    if len(texts) > (most or 1):
        raise _too_many(name, fields)
    try:
        return [base64_images.decode(text) for text in texts]
    except ValueError as obstacle:
        raise _wrong(f"{_quoted(name)} {obstacle}") from None


def _too_many(name: str, fields: Fields) -> HttpError:
    return _wrong(f"{_quoted(name)} has too many images: send at most {fields[name] or 1}")


def _wrong(sentence: str) -> HttpError:
    return HttpError(422, "wrong fields", sentence)


def _wanted(fields: Fields) -> str:
    return " and ".join(f"{name} (up to {most} images)" if most else name for name, most in fields.items())


def _quoted(name: str) -> str:
    return json.dumps(name if len(name) <= 40 else f"{name[:37]}...")
