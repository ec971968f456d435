"""The routes: what a request must be, how long it may take, and what each answer looks like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from siamese.serving import metrics, schemas, uploads
from siamese.serving.batcher import Full
from siamese.serving.http_errors import HttpError
from siamese.serving.middleware import RequestMiddleware
from siamese.serving.service import Decoded, Service

Result = TypeVar("Result")

_PAIR: uploads.Fields = {"anchor": None, "other": None}
_DESCRIPTION = """\
Tells whether two images show the same identity. Images are JPEG, PNG or BMP files of any kind, sent as multipart files
or as base64 in JSON. Whatever isn't answered as asked has the body `{"error": "a sentence"}`. Every answer has the
header `X-Request-ID`: the request's own, where it's of up to 64 letters, digits, dots, hyphens and underscores."""


def application(service: Service, figures: metrics.Metrics, access_log: bool) -> FastAPI:
    """The routes over a service, which they start and end.

    Args:
        figures: what /metrics tells.
        access_log: whether each request is a line on standard error.
    """
    limits = service.limits

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(service.run())
        yield
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    # The pages that FastAPI offers for reading the documentation load programs from the network.
    app = FastAPI(
        title="siamese",
        version=version("siamese"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )

    @app.post(
        "/verify",
        summary="Compare two images",
        response_model=schemas.Verdict,
        responses=schemas.refusals(400, 408, 413, 415, 422, 429, 500, 503),
        openapi_extra=schemas.body_of_pair(),
    )
    async def verify(request: Request) -> Response:
        """Whether both images show the same identity, by the threshold that was chosen when the model was evaluated."""

        async def compare(images: list[Decoded]) -> Response:
            found = await service.verify(request.state.id, images)
            return JSONResponse(asdict(found) | {"model": str(service.loaded())})

        return await _answered(request, service, _PAIR, compare)

    @app.post(
        "/embed",
        summary="Embed images",
        response_model=schemas.Embeddings,
        responses={
            200: {
                "description": "An embedding of each image. With `Accept: application/octet-stream` their bytes: "
                "float32, little-endian, image by image, with the headers X-Shape (`images,values`) and X-Model.",
                "content": {schemas.RAW: {"schema": {"type": "string", "contentMediaType": schemas.RAW}}},
            },
            **schemas.refusals(400, 408, 413, 415, 422, 429, 500, 503),
        },
        openapi_extra=schemas.body_of_images(limits.batch),
    )
    async def embed(request: Request) -> Response:
        """The vectors that the model compares. Those of two models can't be compared: keep the model's name."""

        async def vectors(images: list[Decoded]) -> Response:
            found = await service.embed(images)
            name = str(service.loaded())
            if schemas.RAW in request.headers.get("accept", ""):
                shape = ",".join(map(str, found.shape))
                headers = {"X-Shape": shape, "X-Model": name}
                return Response(found.astype("<f4").tobytes(), media_type=schemas.RAW, headers=headers)
            return Response(await service.in_thread(_json_of, found, name), media_type=uploads.JSON)

        return await _answered(request, service, {"images": limits.batch}, vectors)

    @app.get("/health", summary="Is the model ready?", response_model=schemas.Ready, responses=schemas.refusals(503))
    async def health() -> Response:
        """200 from when the model is loaded and has answered once: for whoever sends requests here."""
        return JSONResponse({"ready": True, "model": str(service.loaded())})

    @app.get("/health/live", summary="Does the process answer?", response_model=schemas.Live)
    async def live() -> Response:
        """200 while the process answers, the model loaded or not: for whoever would start it again."""
        return JSONResponse({"live": True})

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"description": "Prometheus's text format.", "content": {"text/plain": {}}}},
    )
    async def figures_now() -> Response:
        """Requests by route and status, their seconds, batch sizes, queue, images embedded, refusals by reason."""
        return Response(figures.text(), media_type=metrics.CONTENT_TYPE)

    @app.exception_handler(HttpError)
    async def refused(_: Request, why: HttpError) -> Response:
        figures.rejections.labels(why.reason).inc()
        headers = {} if why.retry_after is None else {"Retry-After": str(why.retry_after)}
        return JSONResponse({"error": str(why)}, why.status, headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        sentences = {
            404: "there is nothing at this path: /openapi.json lists what there is",
            405: f"{request.method} does nothing here: use {(error.headers or {}).get('Allow')}",
        }
        sentence = sentences.get(error.status_code, error.detail)
        return JSONResponse({"error": sentence}, error.status_code, error.headers)

    paths = frozenset(path for route in app.routes if (path := getattr(route, "path", None)))
    app.add_middleware(RequestMiddleware, metrics=figures, routes=paths, access_log=access_log)
    return app


async def _answered(
    request: Request,
    service: Service,
    fields: uploads.Fields,
    work: Callable[[list[Decoded]], Awaitable[Response]],
) -> Response:
    """Reads the images of a request within the limits, and does the work on them while the client is there.

    Args:
        fields: what the body has to hold; a place in the queue is taken for each before the body is read.
        work: given the images in the order of the fields.

    Raises:
        Refused: a limit is reached, or the request isn't what is asked for.
        ClientDisconnect: the client has gone.
    """
    service.loaded()
    uploads.refuse_other_kinds(request.headers)
    seconds = service.limits.seconds
    until = asyncio.get_running_loop().time() + seconds
    try:
        with service.places() as take:
            take(len(fields))
            try:
                async with asyncio.timeout_at(until):
                    body = await uploads.body_of(request, service.limits.max_bytes)
            except TimeoutError:
                sentence = f"the body did not come within {seconds:g} s: send it faster"
                raise HttpError(408, "slow body", sentence) from None
            parsing = service.in_thread(uploads.images_of, request.headers["content-type"], body, fields)
            del body  # up to serve.max_bytes, of which nothing is needed while the images wait

            async def rest() -> Response:
                found = await parsing
                take(sum(map(len, found.values())) - len(fields))
                images = await service.decoded(found)
                found.clear()
                return await work(images)

            async with asyncio.timeout_at(until):
                return await _while_connected(request, rest())
    except TimeoutError:
        sentence = f"no answer within {seconds:g} s: ask again later"
        raise HttpError(503, "too slow", sentence, retry_after=1) from None
    except Full:
        raise HttpError(429, "queue full", "too many images wait: ask again in a second", retry_after=1) from None


async def _while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result; cancels it when the client goes away.

    Raises:
        ClientDisconnect: that.
    """
    working, going = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait((working, going), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        going.cancel()


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _json_of(embeddings: np.ndarray, model: str) -> bytes:
    content = {"embeddings": embeddings.tolist(), "model": model}
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
