"""JPEG: its segments up to the first scan, the kinds that are taken, and its pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import ClassVar, Self

from PIL import Image, ImageChops
from PIL.JpegImagePlugin import JpegImageFile

from siamese.data.images.jpeg_scans import PROGRESSIVE, SEQUENTIAL, START_OF_SCAN, require_whole, segments
from siamese.data.images.picture import EXIF_PREFIX, Picture, Rejected, orientation_of

_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_NOT_HUFFMAN_DCT = {
    **dict.fromkeys((0xC3, 0xC7), "lossless"),
    **dict.fromkeys((0xC5, 0xC6, 0xDE), "hierarchical"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF), "arithmetic-coded"),
}


@dataclass(frozen=True)
class Jpeg(Picture):
    """JPEG (ITU T.81): segments up to the first scan."""

    format: ClassVar[str] = "JPEG"
    signature: ClassVar[bytes] = b"\xff\xd8\xff"
    components: int = 0
    adobe: bool = False
    header: bytes = b""  # the segments before the first scan that say something about the pixels
    first_scan: int = 0  # where its header starts

    @classmethod
    def read(cls, data: bytes) -> Self:
        frame: tuple[int, int, int] | None = None
        exif, xmp, adobe, first_scan = b"", b"", False, 0
        kept = [data[:2]]
        for marker, start, end in segments(data):
            if marker == START_OF_SCAN:
                first_scan = start
                break
            body = data[start + 4 : end]
            if marker in _NOT_HUFFMAN_DCT:
                raise Rejected(f"unsupported JPEG: {_NOT_HUFFMAN_DCT[marker]}")
            if marker in (*SEQUENTIAL, PROGRESSIVE):
                depth, height, width, components = struct.unpack_from(">BHHB", body)
                if depth != 8:
                    raise Rejected(f"unsupported JPEG: {depth} bits a sample")
                if components not in (1, 3, 4):
                    raise Rejected(f"unsupported JPEG: {components} colour components")
                frame = width, height, components
            if marker == 0xE1 and body.startswith(EXIF_PREFIX):  # may go on in the next such segment
                exif += body[len(EXIF_PREFIX) :] if exif else body
            if marker == 0xE1 and body.startswith(_XMP_PREFIX):
                xmp = body[len(_XMP_PREFIX) :]
            adobe |= marker == 0xEE and body.startswith(b"Adobe")
            if not 0xE1 <= marker <= 0xED and marker not in (0xEF, 0xFE):
                kept.append(data[start:end])
        if frame is None or not first_scan:
            raise Rejected("damaged JPEG: no image data")
        width, height, components = frame
        orientation = orientation_of(exif, xmp)
        return cls(data, width, height, orientation, components, adobe, b"".join(kept), first_scan)

    @property
    def plain(self) -> bool:
        return self.components in (1, 3) and self.orientation == 1

    def check(self) -> None:
        require_whole(self._opened(), self.header, self.data)

    def pixels(self) -> Image.Image:
        image: Image.Image = self._opened()
        if self.components == 4 and not self.adobe:
            image = ImageChops.invert(image)  # Pillow takes all CMYK as Adobe's, which stores it inverted
        return image.convert("RGB")

    def _opened(self) -> JpegImageFile:
        image = JpegImageFile(BytesIO(self.header + self.data[self.first_scan :]))
        if image.size != (self.width, self.height):
            raise Rejected("damaged JPEG: two sizes")
        return image
