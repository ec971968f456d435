"""The shapes of requests and answers, as /openapi.json documents them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from siamese.serving.uploads import JSON, MULTIPART

RAW = "application/octet-stream"
_BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
_IMAGE = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "A JPEG, PNG or BMP file, as base64 or a data URI.",
}
_FILE = {"type": "string", "contentMediaType": RAW, "description": "A JPEG, PNG or BMP file."}

ModelName = Annotated[
    str,
    Field(
        description="Name and version in the registry; elsewhere 12 digits of the digest of weights and threshold.",
        examples=["siamese/3"],
    ),
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Verdict(_Shape):
    """Whether two images show the same identity."""

    score: float = Field(ge=0, le=1, description="Similarity.", examples=[0.913])
    same: bool = Field(description="Whether the score is at or above the threshold.", examples=[True])
    threshold: float = Field(ge=0, description="Chosen when the model was evaluated.", examples=[0.413])
    model: ModelName


class Embeddings(_Shape):
    """An embedding of each image, in the order of the images."""

    embeddings: list[list[float]] = Field(
        description="float32 values; as JSON their shortest exact digits of 64 bits.",
        examples=[[[0.02, 0.97, 0.51]]],
    )
    model: ModelName


class Ready(_Shape):
    """The model is loaded and has answered once."""

    ready: bool = Field(examples=[True])
    model: ModelName


class Live(_Shape):
    """The process answers."""

    live: bool = Field(examples=[True])


class Refusal(_Shape):
    """Why there is no answer, in a sentence."""

    error: str = Field(examples=["anchor: truncated JPEG"])


_REFUSALS = {
    400: ("An image, or the body, is damaged or can't be taken.", "anchor: truncated JPEG"),
    408: ("The body did not come within serve.seconds.", "the body did not come within 10 s: send it faster"),
    413: ("The body is larger than serve.max_bytes.", "the body is larger than 20000000 bytes: send smaller images"),
    415: ("Neither multipart nor JSON, or compressed.", "the body is compressed: send it without Content-Encoding"),
    422: ("A field is missing, unknown, or not what it should be.", '"other" is missing: send anchor and other'),
    429: ("As many images wait as serve.queue allows.", "too many images wait: ask again in a second"),
    500: ("Something failed here.", "something failed here: the server's log has request 5f0c"),
    503: ("The model is being loaded, or serve.seconds passed.", "no answer within 10 s: ask again later"),
}  # fmt: skip


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route's documentation says of these statuses."""
    return {
        status: {
            "model": Refusal,
            "description": _REFUSALS[status][0],
            "content": {JSON: {"example": {"error": _REFUSALS[status][1]}}},
        }
        for status in statuses
    }


def body_of_pair() -> dict[str, Any]:
    """What /verify takes."""
    return _body(
        {"anchor": _FILE, "other": _FILE}, {"anchor": _IMAGE, "other": _IMAGE}, {"anchor": _BASE64, "other": _BASE64}
    )


def body_of_images(most: int) -> dict[str, Any]:
    """What /embed takes."""
    several = {"type": "array", "minItems": 1, "maxItems": most}
    return _body({"images": several | {"items": _FILE}}, {"images": several | {"items": _IMAGE}}, {"images": [_BASE64]})


def _body(files: dict[str, Any], texts: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    def object_of(properties: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    content = {MULTIPART: {"schema": object_of(files)}, JSON: {"schema": object_of(texts), "example": example}}
    return {"requestBody": {"required": True, "content": content}}
