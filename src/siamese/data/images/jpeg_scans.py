"""JPEG scans (ITU T.81): whether every part of the picture has arrived.

Decoders fill a missing part with grey and report nothing to the caller of Pillow or TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from siamese.data.images.picture import Rejected

START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN, HUFFMAN_TABLES = 0xD8, 0xD9, 0xDA, 0xC4
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2  # frames
_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # not a stuffed or filling byte, nor a restart within a scan
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_COEFFICIENTS = 64  # of a block
# 64 bits, as many as libjpeg reads ahead. All are 1, which is no table's code: a missing block takes 17 or more.
_FILLING = b"\xff\0" * 8
_ZEROS = 128  # bytes: a run of so many in a scan is a disk sector or a page that was never written, or a flat area
_MISSING = "damaged JPEG: part of the picture is missing"
_SPARE = 64  # bytes that may follow a scan's last pixel even where zeros precede them


@dataclass(frozen=True)
class _Scan:
    """One scan.

    Attributes:
        start, end: of its code.
        components: their ids.
        first, last: its coefficients in each block.
        high, low: successive approximation: the lowest bit that earlier scans gave (0: none did), and this one's.
        zeros_are_flat: whether a long run of zero bits can be pixels: a flat area, or part of a progressive scan.
    """

    start: int
    end: int
    components: bytes
    first: int
    last: int
    high: int
    low: int
    zeros_are_flat: bool


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker code, start (of its 0xFF) and end of each segment up to the end of the image, skipping the scans' code."""
    at = 2
    while found := _SEGMENT.search(data, at):
        start, marker = found.start(), data[found.start() + 1]
        if marker == END_OF_IMAGE:
            yield marker, start, start + 2
            return
        length = int.from_bytes(data[start + 2 : start + 4])
        at = start + 2 + length
        if start + 4 > len(data) or at > len(data):
            break
        if length < 2 or marker == START_OF_IMAGE:
            raise Rejected("damaged JPEG: a segment without content")
        yield marker, start, at
    raise Rejected("truncated JPEG")


def require_whole(image: JpegImageFile, header: bytes, data: bytes) -> None:
    """Decode a JPEG at an eighth of its size, which reads all of its code.

    Bytes that no pixel needs do no harm, wherever they are.

    Args:
        image: just opened.
        header: what comes before the first scan.
        data: the whole file.

    Raises:
        Rejected: pixels are missing, or zeros have replaced some.
        OSError: Pillow can't decode it.
    """
    ids, scans = _scans(data)
    _require_every_coefficient(ids, scans)
    with _Decoder(image) as decoder:
        decoder.feed(header)
        _, at, _ = next(segment for segment in segments(data) if segment[0] == START_OF_SCAN)
        for scan in scans:
            start = scan.start
            ends = [marker.start() for marker in _MARKER.finditer(data, scan.start, scan.end)] + [scan.end]
            for number, end in enumerate(ends):
                if number and data[start - 1] != 0xD0 + (number - 1) % 8:
                    raise Rejected("damaged JPEG: a part between two restart markers is missing")
                at = _past_zeros(decoder, scan, data, at, start, end)
                decoder.feed(data[at:end] + _FILLING)
                if not decoder.seeks_marker(b"\0\0"):
                    raise Rejected(_MISSING)
                if decoder.is_done:
                    return
                at, start = end, end + 2
            # A decoder that still waits for the next restart marker takes it, and then seeks pixels.
            decoder.feed(b"\xff" + bytes([0xD0 + (len(ends) - 1) % 8]))
            if not decoder.seeks_marker(b"\0\0"):
                raise Rejected(_MISSING)
        decoder.feed(data[at:])
        if not decoder.is_done:
            raise Rejected(_MISSING)


def _scans(data: bytes) -> tuple[bytes, list[_Scan]]:
    """The ids of the frame's components, and all scans."""
    ids, is_progressive = b"", False
    zero_symbols: dict[int, int] = {}  # of each Huffman table: the symbol whose code is all zeros, the first one
    scans: list[_Scan] = []
    behind_scan: tuple[int, bytes] | None = None  # where the last scan's code starts, and its header
    for marker, start, end in segments(data):
        if behind_scan:
            scans.append(_scan(*behind_scan, start, is_progressive, zero_symbols))
            behind_scan = None
        body = data[start + 4 : end]
        if marker in (*SEQUENTIAL, PROGRESSIVE):
            ids, is_progressive = body[6 : 6 + 3 * body[5] : 3], marker == PROGRESSIVE
        elif marker == HUFFMAN_TABLES:
            while len(body) > 17:
                zero_symbols[body[0]] = body[17]
                body = body[17 + sum(body[1:17]) :]
        elif marker == START_OF_SCAN:
            if len(body) != 4 + 2 * body[0]:
                raise Rejected("damaged JPEG: a scan's header of the wrong length")
            behind_scan = end, body
    return ids, scans


def _scan(start: int, header: bytes, end: int, is_progressive: bool, zero_symbols: dict[int, int]) -> _Scan:
    components, (first, last, approximation) = header[1:-3:2], header[-3:]
    if not is_progressive:  # some programs write anything there
        ac_symbols = [zero_symbols.get(0x10 | tables & 15, 0) for tables in header[2:-3:2]]
        return _Scan(start, end, components, 0, _COEFFICIENTS - 1, 0, 0, not any(ac_symbols))
    if not first <= last < _COEFFICIENTS:
        raise Rejected("damaged JPEG: a scan without coefficients")
    return _Scan(start, end, components, first, last, approximation >> 4, approximation & 15, True)


def _require_every_coefficient(ids: bytes, scans: list[_Scan]) -> None:
    """Raise `Rejected` unless the scans give each coefficient of each component down to its lowest bit."""
    lowest = {component: [-1] * _COEFFICIENTS for component in ids}  # bit that was given so far
    for scan in scans:
        part, size = slice(scan.first, scan.last + 1), scan.last + 1 - scan.first
        for component in scan.components:
            bits = lowest.get(component, [])
            if scan.high and bits[part] != [scan.high] * size:
                raise Rejected("damaged JPEG: a scan is missing")
            bits[part] = [scan.low] * size
    if any(bit for bits in lowest.values() for bit in bits):
        raise Rejected("damaged JPEG: a scan is missing")


def _past_zeros(decoder: _Decoder, scan: _Scan, data: bytes, at: int, start: int, end: int) -> int:
    """Feed the decoder up to a place behind the first long run of zeros in a part of a scan; return that place.

    In most tables the code of zeros is no flat block, and a long run of them is no picture. Where it is one, zeros in
    place of other code still give another number of blocks: the decoder wants more at the end, or too little.

    Raises:
        Rejected: the zeros have replaced other code.
    """
    zeros = data.find(bytes(_ZEROS + 2), start, end)
    if zeros < 0:
        return at
    at, behind = _probe(decoder, data, at, zeros + _ZEROS)
    if behind:
        return at
    if not scan.zeros_are_flat:
        raise Rejected("damaged JPEG: zeros in place of part of the picture")
    spare = end - _SPARE
    while b"\xff" in data[spare - 1 : spare + 2]:
        spare -= 1
    if spare > at:
        at, behind = _probe(decoder, data, at, spare)
        if behind:
            raise Rejected("damaged JPEG: zeros in place of part of the picture")
    return at


def _probe(decoder: _Decoder, data: bytes, at: int, place: int) -> tuple[int, bool]:
    """Feed the decoder up to two bytes behind a place; return where, and whether it needs none of these for pixels."""
    decoder.feed(data[at:place])
    return place + 2, decoder.seeks_marker(data[place : place + 2])


class _Decoder:
    """Pillow's decoder of JPEG, fed part by part, which shows where it stops. `Image.load` doesn't."""

    def __init__(self, image: JpegImageFile) -> None:
        image.draft(None, (1, 1))
        image.load_prepare()
        [(name, extents, _, arguments)] = image.tile
        self._decoder = Image._getdecoder(image.mode, name, arguments, image.decoderconfig)
        self._decoder.setimage(image.im, extents)
        self._unread = b""
        self.is_done = False

    def __enter__(self) -> _Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.cleanup()

    def feed(self, code: bytes) -> bool:
        """Decode as much as possible; return whether the decoder has read all bytes so far, or is done."""
        if not self.is_done:
            self._unread += code
            count, error = self._decoder.decode(self._unread)
            if count < 0 and error:
                raise OSError("broken data stream when reading image file")
            self.is_done = count < 0
            self._unread = b"" if self.is_done else self._unread[count:]
        return not self._unread

    def seeks_marker(self, two: bytes) -> bool:
        """Feed two bytes, not 0xFF; return whether the decoder has all code of this part of the scan.

        Then it skips each byte at once. Within a part, libjpeg reads when it can get 57 bits, never twice in a row.
        """
        first, second = self.feed(two[:1]), self.feed(two[1:])
        return first and second
