"""Bodies of requests: images out of multipart and JSON, and a sentence for whatever isn't that."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siamese.serving.http_errors import HttpError
from siamese.serving.uploads import images_of

PAIR = {"anchor": None, "other": None}
SEVERAL = {"images": 3}


def multipart(*files: tuple[str, bytes]) -> tuple[str, bytes]:
    """Content-Type and body, as a client makes them."""
    made = httpx.Request("POST", "http://x", files=[(name, ("a file", data)) for name, data in files])
    return made.headers["content-type"], made.read()


def as_json(content: Any) -> tuple[str, bytes]:
    return "application/json; charset=utf-8", json.dumps(content).encode()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@given(st.binary(), st.binary())
def test_any_bytes_arrive_as_they_were_sent(anchor: bytes, other: bytes) -> None:
    expected = {"anchor": [anchor], "other": [other]}
    assert images_of(*multipart(("other", other), ("anchor", anchor)), PAIR) == expected
    assert images_of(*as_json({"anchor": text(anchor), "other": text(other)}), PAIR) == expected
    both = {"images": [anchor, other]}
    assert images_of(*multipart(("images", anchor), ("images", other)), SEVERAL) == both
    assert images_of(*as_json({"images": [text(anchor), text(other)]}), SEVERAL) == both


def test_bytes_that_look_like_a_boundary_arrive_too() -> None:
    kind, body = multipart(("anchor", b"\r\n--" + b"-" * 60 + b"\r\n\r\n--"), ("other", b"\r\n"))
    assert images_of(kind, body, PAIR)["anchor"] == [b"\r\n--" + b"-" * 60 + b"\r\n\r\n--"]


def test_the_order_is_that_of_the_fields() -> None:
    assert list(images_of(*multipart(("other", b"1"), ("anchor", b"2")), PAIR)) == ["anchor", "other"]


SEVENTY = bytes([0b11111011, 0b11101111, 0b11111111] * 23 + [0b11111011])


@pytest.mark.parametrize(
    "written",
    [
        "++//" * 23 + "+w==",
        "data:image/png;base64," + "++//" * 23 + "+w==",
        "DATA:image/jpeg;charset=utf-8;BASE64," + "%2B%2B//" * 23 + "%2Bw%3D%3D",
        ("++//" * 4 + "\r\n") * 5 + "++//" * 3 + "+w==\r\n",
        "  " + "++//" * 20 + "\n  " + "++//" * 3 + "+w==\n",
        "--__" * 23 + "-w==",
        "++//" * 23 + "+w",
        "--__" * 20 + "\n" + "--__" * 3 + "-w",
    ],
)
def test_base64_is_taken_in_the_forms_that_clients_send(written: str) -> None:
    """By hand: ++// are the sextets 62 62 63 63, 111110 111110 111111 111111; +w are 62 48, 111110 11 and zeros."""
    assert images_of(*as_json({"anchor": written, "other": "MQ=="}), PAIR) == {"anchor": [SEVENTY], "other": [b"1"]}


@pytest.mark.parametrize(
    ("sent", "fields", "status", "sentence"),
    [
        (multipart(("anchor", b"1")), PAIR, 422, '"other" is missing: send anchor and other'),
        (multipart(("anchor", b"1"), ("third", b"2")), PAIR, 422, '"third" is no field: send anchor and other'),
        (multipart(("anchor", b"1"), ("anchor", b"2"), ("other", b"3")), PAIR, 422, '"anchor" has too many images'),
        (multipart(*[("images", b"1")] * 4), SEVERAL, 422, '"images" has too many images: send at most 3'),
        (multipart(("\n\"x" + "y" * 99, b"1")), PAIR, 422, " is no field: send anchor and other"),
        (("multipart/form-data", b"x"), PAIR, 400, "Content-Type names no boundary"),
        (("multipart/form-data; boundary=a", b"nothing of the kind"), PAIR, 400, "the body is not multipart/form-data"),
        (("multipart/form-data; boundary=" + "a" * 999, b"--"), PAIR, 400, "the body is not multipart/form-data"),
        (("multipart/form-data; boundary=a", b""), PAIR, 400, "the body ends before its last boundary"),
        (("application/json", b"{"), PAIR, 400, "the body is not JSON"),
        (("application/json", b"[" * 100_000), PAIR, 400, "the body is not JSON"),
        (("application/json", b"9" * 100_000), PAIR, 400, "the body is not JSON"),
        (("application/json", b'"\xff"'), PAIR, 400, "the body is not JSON"),
        (as_json(["anchor"]), PAIR, 422, "the body is no JSON object: send anchor and other"),
        (as_json({"anchor": "MQ==", "other": "MQ==", "threshold": 0.5}), PAIR, 422, '"threshold" is no field'),
        (as_json({"anchor": "MQ==", "other": 1}), PAIR, 422, '"other" must be an image as base64'),
        (as_json({"anchor": ["MQ=="], "other": "MQ=="}), PAIR, 422, '"anchor" must be an image as base64'),
        (as_json({"anchor": "MQ==", "other": "data/a.png"}), PAIR, 422, '"other" is a file\'s path: send the'),
        (as_json({"anchor": "MQ==", "other": r"C:\a b\c.JPG"}), PAIR, 422, '"other" is a file\'s path'),
        (as_json({"anchor": "MQ==", "other": "/etc/passwd"}), PAIR, 422, '"other" is a file\'s path'),
        (as_json({"anchor": "MQ==", "other": "https://a.example/b.png"}), PAIR, 422, '"other" is a URL: send the'),
        (as_json({"anchor": "MQ==", "other": "data:image/svg+xml,<svg/>"}), PAIR, 422, "is a data URI without base64"),
        (as_json({"anchor": "MQ==", "other": "b'MQ=='"}), PAIR, 422, "is base64 as Python prints bytes"),
        (as_json({"anchor": "MQ==", "other": "MTIz NDU2"}), PAIR, 422, "has spaces inside its base64, perhaps instead"),
        (as_json({"anchor": "MQ==", "other": "MTIzN"}), PAIR, 422, "is base64 whose end is missing: send all of it"),
        (as_json({"anchor": "MQ==", "other": "ä"}), PAIR, 422, '"other" is not base64'),
        (as_json({"images": "MQ=="}), SEVERAL, 422, '"images" must be a list of images as base64'),
        (as_json({"images": ["MQ==", None]}), SEVERAL, 422, '"images" must be a list of images as base64'),
        (as_json({"images": []}), SEVERAL, 422, '"images" is missing: send images (up to 3 images)'),
        (as_json({"images": ["MQ=="] * 4}), SEVERAL, 422, '"images" has too many images: send at most 3'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(
    sent: tuple[str, bytes], fields: dict[str, int | None], status: int, sentence: str
) -> None:
    with pytest.raises(HttpError) as refused:
        images_of(*sent, fields)
    assert refused.value.status == status
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 200 and "\n" not in str(refused.value)


@given(st.binary(max_size=200))
def test_a_body_cut_off_anywhere_is_refused(data: bytes) -> None:
    kind, body = multipart(("anchor", data), ("other", data))
    end = body.rindex(b"--\r\n")
    for length in range(0, end, 7):
        with pytest.raises(HttpError):
            images_of(kind, body[:length], PAIR)


@given(st.binary(max_size=300))
def test_noise_never_fails_otherwise(noise: bytes) -> None:
    for kind in ("multipart/form-data; boundary=a", "application/json"):
        for body in (
            noise,
            b"--a\r\n" + noise,
            b'--a\r\nContent-Disposition: form-data; name="anchor"\r\n\r\n' + noise,
        ):
            with pytest.raises(HttpError):
                images_of(kind, body, PAIR)
