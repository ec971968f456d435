"""`siamese serve` as a process, asked over HTTP: the same scores as `siamese verify`, and every limit kept."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from conftest import ROOT
from drawn import encoded, picture
from fastapi.openapi.models import OpenAPI
from image_writers import halved
from PIL import Image
from siamese_servers import SiameseServer, metric, siamese_server
from storage_servers import free_port
from waiting import PATIENCE, wait_until

from siamese import cli
from siamese.models import verify
from siamese.models.verifier import Verifier, read_image
from siamese.monitoring import prediction_log
from siamese.registry.locator import resolve_model

MAX_PIXELS, MAX_BYTES, QUEUE, CLIENTS = 1_000_000, 1_000_000, 66, 32
LIMITS = {
    "data.max_pixels": MAX_PIXELS,
    "serve.batch": 32,
    "serve.queue": QUEUE,
    "serve.max_bytes": MAX_BYTES,
    "serve.seconds": PATIENCE,
}
ROUNDING = 1e-6  # a batch of another size may change the last bits


def options(limits: dict[str, float]) -> list[str]:
    return [part for key, value in limits.items() for part in ("-S", f"{key}={value}")]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "predictions.jsonl"


@pytest.fixture(scope="module")
def server(workspace: Path, log: Path) -> Iterator[SiameseServer]:
    limits = options(LIMITS)
    with siamese_server(workspace, log.parent / "said", "--log", str(log), "--access-log", *limits) as running:
        yield running


@pytest.fixture(scope="module")
def documented(server: SiameseServer) -> dict[str, Any]:
    return httpx.get(f"{server.address()}/openapi.json", timeout=PATIENCE).json()


@pytest.fixture(scope="module")
def client(server: SiameseServer, documented: dict[str, Any]) -> Iterator[httpx.Client]:
    """Every answer that it gets has been held against the documentation."""

    def check(answer: httpx.Response) -> None:
        answer.read()
        agrees_with_documentation(answer, documented)

    with httpx.Client(base_url=server.address(), timeout=PATIENCE, event_hooks={"response": [check]}) as opened:
        yield opened


def agrees_with_documentation(answer: httpx.Response, documented: dict[str, Any]) -> None:
    """The status of a documented route is documented, and the body is of its schema."""
    assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-request-id"]
    operation = documented["paths"].get(answer.request.url.path, {}).get(answer.request.method.lower())
    if operation is None:
        assert answer.status_code in (404, 405, 200)
        return
    content = operation["responses"][str(answer.status_code)]["content"]
    described = content[answer.headers["content-type"].partition(";")[0]]
    if answer.headers["content-type"] == "application/json":
        jsonschema.validate(answer.json(), described["schema"] | {"components": documented["components"]})


@pytest.fixture(scope="module")
def files(workspace: Path) -> list[Path]:
    """Images of several identities and formats."""
    return sorted(file for file in (workspace / "data/sample").rglob("*") if file.is_file())[:CLIENTS]


@pytest.fixture(scope="module")
def verifier(workspace: Path) -> Verifier:
    return Verifier.load(workspace / "artifacts/model")


def asked(client: httpx.Client, anchor: bytes, other: bytes, **more: Any) -> httpx.Response:
    return client.post("/verify", files={"anchor": anchor, "other": other}, **more)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(seed: int = 0, **how: int) -> bytes:
    return encoded(picture(seed, **how))


def test_the_first_line_says_what_is_served_and_where(server: SiameseServer, client: httpx.Client) -> None:
    named = client.get("/health").json()
    assert named["ready"] is True
    version = named["model"].removeprefix("siamese/")
    assert server.said().splitlines()[0] == f"serving siamese version {version} at {server.address()}"
    assert client.get("/health/live").json() == {"live": True}
    assert metric(client, f'siamese_model{{model="{named["model"]}"}}') == 1


def test_answers_as_siamese_verify_does(client: httpx.Client, workspace: Path, files: list[Path]) -> None:
    """As multipart and as JSON, in both orders."""
    for a, b in [(files[0], files[1]), (files[1], files[0]), (files[2], files[9]), (files[3], files[3])]:
        model, threshold = workspace / "artifacts/model", workspace / "artifacts/threshold.json"
        expected = verify.verify(a, b, resolve_model(model, threshold), None, MAX_PIXELS)
        sent = {"anchor": text(a.read_bytes()), "other": text(b.read_bytes())}
        for answer in (asked(client, a.read_bytes(), b.read_bytes()), client.post("/verify", json=sent)):
            assert answer.status_code == 200, answer.text
            assert answer.json()["score"] == pytest.approx(expected.score, abs=ROUNDING)
            assert answer.json()["threshold"] == expected.threshold
            assert answer.json()["same"] == (answer.json()["score"] >= np.float32(expected.threshold))


def test_embeds_one_image_or_several(client: httpx.Client, verifier: Verifier, files: list[Path]) -> None:
    encoded_images = [read_image(file, MAX_PIXELS) for file in files[:3]]
    expected = verifier.embed_encoded(encoded_images)
    for count in (1, 3):
        sent = [("images", file.read_bytes()) for file in files[:count]]
        answer = client.post("/embed", files=sent).json()
        assert np.abs(np.array(answer["embeddings"]) - expected[:count]).max() < ROUNDING
        raw = client.post("/embed", files=sent, headers={"Accept": "application/octet-stream"})
        assert raw.headers["x-shape"] == f"{count},4096" and raw.headers["x-model"] == answer["model"]
        found = np.frombuffer(raw.content, "<f4").reshape(count, 4096)
        assert np.abs(found - expected[:count]).max() < ROUNDING
    as_json = client.post("/embed", json={"images": [text(file.read_bytes()) for file in files[:3]]}).json()
    assert np.abs(np.array(as_json["embeddings"]) - expected).max() < ROUNDING


def test_images_of_requests_at_the_same_time_are_embedded_together(
    server: SiameseServer, client: httpx.Client, verifier: Verifier, files: list[Path]
) -> None:
    """32 clients send a pair each while the model works on another image: 64 images, in two batches of 32, and each
    client gets its own score."""
    embeddings = verifier.embed_encoded([read_image(file, MAX_PIXELS) for file in files])
    others = [*range(1, CLIENTS), 0]
    expected = verifier.score(embeddings, embeddings[others])
    before = {name: metric(client, name) for name in ("siamese_batch_images_count", "siamese_images_embedded_total")}
    with ThreadPoolExecutor(CLIENTS) as clients:
        with server.busy(client):
            answers = clients.map(
                lambda n: asked(client, files[n].read_bytes(), files[others[n]].read_bytes()), range(CLIENTS)
            )
            wait_until(lambda: server.waiting() == 2 * CLIENTS)
        answers = list(answers)
    assert [answer.json()["score"] for answer in answers] == pytest.approx(expected, abs=ROUNDING)
    batches, images = (metric(client, name) - count for name, count in before.items())
    assert (batches, images) == (1 + 2, 1 + 2 * CLIENTS)
    assert metric(client, "siamese_queue_images") == 0


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (b"", "empty file"),
        (b"not an image", "not an image"),
        (b"GIF89a" + bytes(20), "is GIF, not JPEG, PNG or BMP"),
        (png()[:-300], "truncated PNG"),
        (encoded(picture(0), "JPEG")[:-300], "truncated JPEG"),
        (halved(encoded(picture(0), "JPEG")), "damaged JPEG: part of the picture is missing"),
        (png()[:60] + bytes(40) + png()[100:], "damaged PNG"),
        (encoded(Image.new("L", (1001, 1000))), "too many pixels: 1001 x 1000 are more than data.max_pixels, 1000000"),
    ],
)  # fmt: skip
def test_an_image_that_can_not_be_taken_is_named_with_its_reason(
    client: httpx.Client, image: bytes, sentence: str
) -> None:
    reason = f'siamese_rejections_total{{reason="{sentence.partition(":")[0]}"}}'
    before = metric(client, reason)
    answers = [
        (asked(client, png(), image), "other: "),
        (asked(client, image, png()), "anchor: "),
        (client.post("/embed", files={"images": image}), "images: "),
        (client.post("/embed", json={"images": [text(png()), text(image)]}), "images[1]: "),
    ]
    for answer, name in answers:
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(name + sentence)
    assert metric(client, reason) == before + 4


def test_a_bad_image_costs_its_own_request_alone(client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda n: asked(client, png(n), png(n) if n % 2 else png(n)[:-300]), range(8)))
    assert [answer.status_code for answer in answers] == [400, 200] * 4


@pytest.mark.parametrize("route", ["/verify", "/embed"])
def test_a_request_of_another_form_is_told_what_to_send(client: httpx.Client, route: str) -> None:
    fields = ("anchor", "other") if route == "/verify" else ("images",)
    first = {fields[0]: png()}
    whole = json.dumps({"anchor": text(png()), "other": text(png())}).encode()
    as_json = {"Content-Type": "application/json"}
    for sent, status, sentence in [
        ({"content": b"x"}, 415, "Content-Type is missing: send multipart/form-data or application/json"),
        ({"data": {"anchor": "x"}}, 415, 'Content-Type is "application/x-www-form-urlencoded"'),
        ({"content": png(), "headers": {"Content-Type": "image/png"}}, 415, 'Content-Type is "image/png"'),
        ({"content": gzip.compress(whole), "headers": as_json | {"Content-Encoding": "gzip"}}, 415, "compressed"),
        ({"content": b"{", "headers": as_json}, 400, "the body is not JSON"),
        ({"content": b"", "headers": as_json}, 400, "the body is not JSON"),
        ({"files": first | {"threshold": b"0.1"}}, 422, '"threshold" is no field'),
        ({"json": {}}, 422, f'"{fields[0]}" is missing'),
        ({"json": {field: "/etc/passwd" for field in fields}}, 422, fields[0]),
    ]:
        answer = client.post(route, **sent)
        assert (answer.status_code, sentence in answer.json()["error"]) == (status, True), (sent, answer.text)


def test_one_request_embeds_at_most_a_batch(client: httpx.Client) -> None:
    answer = client.post("/embed", files=[("images", png())] * 33)
    assert answer.status_code == 422
    assert answer.json() == {"error": '"images" has too many images: send at most 32'}


def test_other_paths_and_methods_get_a_sentence_too(client: httpx.Client) -> None:
    answer = client.get("/verify")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == {"error": "GET does nothing here: use POST"}
    for path in ("/", "/docs", "/../params.yaml", "/artifacts/model", "/verify/%2e%2e/params.yaml"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json() == {"error": "there is nothing at this path: /openapi.json lists what there is"}


def test_a_body_that_says_it_is_too_large_is_not_read(client: httpx.Client) -> None:
    answer = client.post("/embed", files={"images": bytes(MAX_BYTES)})
    assert answer.status_code == 413
    assert answer.json() == {"error": f"the body is larger than {MAX_BYTES} bytes: send smaller images"}
    just_right = client.post("/embed", files={"images": bytes(MAX_BYTES - 1000)})
    assert just_right.json() == {"error": "images: not an image"}


def connection(client: httpx.Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.base_url.port), timeout=PATIENCE)


def head(length: int | None) -> bytes:
    how = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    kind = "Content-Type: multipart/form-data; boundary=b"
    return f"POST /verify HTTP/1.1\r\nHost: x\r\n{kind}\r\n{how}\r\n\r\n".encode()


def test_a_body_without_length_is_read_no_further_than_the_limit(client: httpx.Client) -> None:
    """A chunked body that never ends: the answer comes after the limit, though the client still sends."""
    with connection(client) as opened:
        opened.sendall(head(None))
        opened.settimeout(0.01)
        answer, sent = b"", 0
        while not answer:
            opened.setblocking(True)
            with suppress(ConnectionError):  # it has answered, and closed the connection
                opened.sendall(b"8000\r\n" + bytes(0x8000) + b"\r\n")
                sent += 0x8000
            assert sent < 100 * MAX_BYTES
            opened.settimeout(0.01)
            try:
                answer = opened.recv(1000)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 413") and sent > MAX_BYTES


def test_a_client_that_asks_first_is_refused_before_it_sends(client: httpx.Client) -> None:
    with connection(client) as opened:
        opened.sendall(head(MAX_BYTES + 1).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert opened.recv(1000).startswith(b"HTTP/1.1 413")


def test_beyond_the_queue_requests_are_told_to_come_later(client: httpx.Client) -> None:
    """A pair has two places from its first byte on. Clients that have sent half a request hold all of them; when they
    go, others are served."""
    with ExitStack() as held:
        for _ in range(QUEUE // 2):
            held.enter_context(connection(client)).sendall(head(100) + b"--b\r\n")
        wait_until(lambda: metric(client, "siamese_queue_images") == QUEUE)
        for answer in (asked(client, png(), png()), client.post("/embed", files={"images": png()})):
            assert answer.status_code == 429
            assert answer.json() == {"error": "too many images wait: ask again in a second"}
            assert answer.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200
    wait_until(lambda: metric(client, "siamese_queue_images") == 0)
    assert asked(client, png(), png()).status_code == 200
    assert metric(client, 'siamese_rejections_total{reason="queue full"}') >= 2


def test_images_of_a_client_that_went_away_are_not_embedded(server: SiameseServer, client: httpx.Client) -> None:
    """It goes while its images wait for the model."""
    body = httpx.Request("POST", "http://x", files={"anchor": png(), "other": png()})
    kind = body.headers["content-type"].encode()
    request = head(len(body.read())).replace(b"multipart/form-data; boundary=b", kind) + body.read()
    gone, embedded = 'siamese_requests_total{route="/verify",status="499"}', "siamese_images_embedded_total"
    before = metric(client, gone), metric(client, embedded)
    with server.busy(client):
        with connection(client) as opened:
            opened.sendall(request)
            wait_until(lambda: server.waiting() == 2)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as a crash gives
        wait_until(lambda: metric(client, gone) == before[0] + 1)
    assert client.post("/embed", files={"images": png()}).status_code == 200
    assert metric(client, embedded) == before[1] + 1 + 1


@pytest.mark.parametrize("given", ["order-17.a_B", "x" * 64])
def test_a_request_keeps_its_id(client: httpx.Client, log: Path, given: str) -> None:
    assert asked(client, png(), png(), headers={"X-Request-ID": given}).headers["x-request-id"] == given
    wait_until(lambda: given in prediction_log.read(log).id.tolist())


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'x","same":true', "../x", "é"])
def test_an_id_that_could_harm_a_log_is_replaced(client: httpx.Client, given: str) -> None:
    answer = client.get("/health", headers={"X-Request-ID": given.encode()})
    assert answer.headers["x-request-id"] != given and len(answer.headers["x-request-id"]) == 32


def test_the_log_has_scores_and_statistics_and_no_picture(client: httpx.Client, log: Path) -> None:
    """Left half black, right half 200: mean 100, deviation 100. The Laplacian is 200 and -200 in the two columns beside
    the edge of 98, else 0: its variance is 2 * 200² / 98, over 100² that is 0.0816. A plain image of 50 has neither
    contrast nor sharpness."""
    halves = np.zeros((100, 100), np.uint8)
    halves[:, 50:] = 200
    anchor = encoded(Image.fromarray(halves))
    other = encoded(Image.new("RGB", (300, 200), (50, 50, 50)), "BMP")
    answer = asked(client, anchor, other, headers={"X-Request-ID": "halves"})
    wait_until(lambda: "halves" in prediction_log.read(log).id.tolist())
    row = prediction_log.read(log).set_index("id").loc["halves"]
    assert (row.score, row.same, row.threshold, row.model) == tuple(
        answer.json()[name] for name in ("score", "same", "threshold", "model")
    )
    assert (row.anchor_width, row.anchor_height, row.anchor_format) == (100, 100, "PNG")
    assert (row.other_width, row.other_height, row.other_format) == (300, 200, "BMP")
    assert (row.anchor_brightness, row.anchor_contrast) == (100, 100)
    assert row.anchor_sharpness == pytest.approx(2 * 200**2 / 98 / 100**2, abs=1e-4)
    assert (row.other_brightness, row.other_contrast, row.other_sharpness) == (50, 0, 0)
    lines = log.read_text().splitlines()
    assert all(len(line) < 600 for line in lines)
    assert (prediction_log.read(log).time.diff().dropna() >= np.timedelta64(0)).all()


def test_refused_requests_and_embeddings_are_not_logged(client: httpx.Client, log: Path) -> None:
    for answer in (asked(client, png(), b"", headers={"X-Request-ID": "refused"}),
                   client.post("/embed", files={"images": png()}, headers={"X-Request-ID": "embedded"}),
                   asked(client, png(), png(), headers={"X-Request-ID": "last"})):  # fmt: skip
        assert answer.headers["x-request-id"]
    wait_until(lambda: "last" in prediction_log.read(log).id.tolist())
    assert not {"refused", "embedded"} & set(prediction_log.read(log).id)


def test_the_access_log_has_a_line_of_json_for_each_request(server: SiameseServer, client: httpx.Client) -> None:
    client.get("/no%0Awhere?secret=1", headers={"X-Request-ID": "lines"})
    wait_until(lambda: '"id": "lines"' in server.said())
    lines = [json.loads(line) for line in server.said().splitlines()[1:]]
    [line] = [line for line in lines if line["id"] == "lines"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/no\nwhere", 404)
    assert set(line) == {"time", "id", "method", "path", "status", "seconds"}


def test_the_documentation_is_openapi_and_names_every_status(documented: dict[str, Any]) -> None:
    """That answers agree with it is checked for each answer in this file, by `client`."""
    OpenAPI.model_validate(documented)
    assert documented["openapi"].startswith("3.1")
    for route in ("/verify", "/embed"):
        operation = documented["paths"][route]["post"]
        assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "429", "500", "503"}
        for status, response in operation["responses"].items():
            assert response["description"]
            for shape in response["content"].values():
                jsonschema.Draft202012Validator.check_schema(shape["schema"])
                if status != "200":
                    schema = shape["schema"] | {"components": documented["components"]}
                    jsonschema.validate(shape["example"], schema)
        assert set(operation["requestBody"]["content"]) == {"multipart/form-data", "application/json"}


def test_the_documented_examples_are_answered(client: httpx.Client, documented: dict[str, Any]) -> None:
    for route in ("/verify", "/embed"):
        body = documented["paths"][route]["post"]["requestBody"]["content"]["application/json"]
        jsonschema.validate(body["example"], body["schema"])
        assert client.post(route, json=body["example"]).status_code == 200


def test_figures_are_in_prometheus_format(client: httpx.Client) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    counted = {(one.labels["route"], one.labels["status"]) for one in families["siamese_requests"].samples}
    assert {("/verify", "200"), ("/embed", "200"), ("/health", "200")} <= counted
    paths = {"/verify", "/embed", "/health", "/health/live", "/metrics", "/openapi.json"}
    assert {route for route, _ in counted} <= {*paths, "other"}
    assert {"siamese_request_seconds", "process_resident_memory_bytes", "siamese_predictions_dropped"} <= set(families)


def test_work_that_takes_too_long_is_given_up(workspace: Path, tmp_path: Path) -> None:
    """While the model is busy, requests wait for 0.6 s: none is answered, and their images are never embedded. The one
    that keeps it busy is given up, too."""
    limits = options({"serve.seconds": 0.6})
    with ExitStack() as opened:
        server = opened.enter_context(siamese_server(workspace, tmp_path / "said", *limits))
        client = opened.enter_context(httpx.Client(base_url=server.address(), timeout=PATIENCE))
        late = 0  # on a busy machine, the body itself may take too long
        with server.busy(client) as occupying:
            for ask in (lambda: asked(client, png(), png()), lambda: client.post("/embed", files={"images": png()})):
                while (answer := ask()).status_code == 408:
                    late += 1
                assert answer.status_code == 503
                assert answer.json() == {"error": "no answer within 0.6 s: ask again later"}
                assert answer.headers["retry-after"] == "1"
            with connection(client) as slow:
                slow.sendall(head(100) + b"--b\r\n")
                answer = slow.recv(1000)
                while b"}" not in answer:
                    answer += slow.recv(1000)
                assert answer.startswith(b"HTTP/1.1 408")
                assert b"the body did not come within 0.6 s" in answer
            wait_until(lambda: metric(client, "siamese_queue_images") == 0)
            assert metric(client, "siamese_images_embedded_total") == 0
        wait_until(lambda: metric(client, "siamese_images_embedded_total") == 1)
        assert metric(client, 'siamese_rejections_total{reason="too slow"}') == 2 + occupying.count(503)
        assert metric(client, 'siamese_rejections_total{reason="slow body"}') == 1 + late + occupying.count(408)


def test_sigterm_lets_requests_under_way_be_answered(workspace: Path, tmp_path: Path) -> None:
    """Four requests wait for the model when the signal comes, and one client sends nothing."""
    log = tmp_path / "log.jsonl"
    limits = options({"serve.seconds": PATIENCE})
    with siamese_server(workspace, tmp_path / "said", "--log", str(log), *limits) as server:
        client = httpx.Client(base_url=server.address(), timeout=PATIENCE)
        idle = connection(client)

        def closed() -> bool:
            try:
                connection(client).close()
            except ConnectionRefusedError:
                return True
            return False

        with ThreadPoolExecutor(4) as clients:
            with server.busy(client):
                under_way = [clients.submit(asked, client, png(n), png(n + 1)) for n in range(4)]
                wait_until(lambda: server.waiting() == 8)
                server.process.terminate()
                wait_until(closed)
            assert [future.result().status_code for future in under_way] == [200] * 4
        assert server.process.wait(PATIENCE) == 0
        assert idle.recv(1) == b""
        with pytest.raises(httpx.ConnectError):
            client.get("/health")
    assert len(prediction_log.read(log)) == 4
    assert server.said().count("\n") == 1


def test_it_is_alive_before_it_is_ready_and_ends_when_told(workspace: Path, tmp_path: Path) -> None:
    """It is not ready as long as its threshold is a pipe that nobody writes to."""
    port, threshold = free_port(), tmp_path / "threshold.json"
    os.mkfifo(threshold)
    more = ("--port", str(port), "--threshold-file", str(threshold))
    with siamese_server(workspace, tmp_path / "said", *more) as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:

            def lives() -> bool:
                try:
                    return client.get("/health/live").status_code == 200
                except httpx.ConnectError:
                    return False

            wait_until(lives)
            for answer in (client.get("/health"), asked(client, png(), png())):
                assert answer.status_code == 503
                assert answer.json() == {"error": "the model is being loaded: ask again in some seconds"}
        assert server.stop() == 0
        assert server.said() == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "nowhere"], "nowhere: no trained model here"),
        (["--threshold-file", "nowhere.json"], "nowhere.json is missing"),
        (["--model", "models:/siamese"], "write models:/NAME/VERSION or models:/NAME@ALIAS"),
        (["--log", "nowhere/log.jsonl"], "nowhere/log.jsonl: can't be written (No such file or directory)"),
        (["--host", "203.0.113.1"], "203.0.113.1, port 0: can't listen there (Cannot assign requested address"),
        (["-S", "serve.queue=1"], "serve.queue = 1 is not allowed"),
    ],
)
def test_what_can_not_be_served_is_told_in_one_line(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], sentence: str
) -> None:  # fmt: skip
    monkeypatch.chdir(workspace)
    assert cli.run(["serve", "--port", "0", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_a_port_in_use_is_told_in_one_line(
    server: SiameseServer, client: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["serve", "--port", str(client.base_url.port)]) == 2
    assert "can't listen there (Address already in use): choose another --host or --port" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("curl"), reason="the page's commands call curl")
def test_the_commands_of_the_documentation_answer_as_it_shows(
    client: httpx.Client, files: list[Path], tmp_path: Path
) -> None:
    """Numbers and the model's version apart."""
    for name, file in (("a.png", files[0]), ("b.png", files[1]), ("notes.txt", Path(__file__))):
        shutil.copy(file, tmp_path / name)
    lines = (ROOT / "docs/serving.md").read_text().split("## Asking")[1].split("```")[1].splitlines()[1:]
    shown: dict[str, str] = {}
    for line in lines:
        if line.startswith("$ "):
            shown[line.removeprefix("$ ")] = ""
        else:
            shown[[*shown][-1]] += line
    assert len(shown) == 5
    for command, expected in shown.items():
        here = command.replace("http://127.0.0.1:8000", str(client.base_url).rstrip("/"))
        answer = subprocess.run(here, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        kinds = [{key: type(value) for key, value in json.loads(text or "{}").items()} for text in (answer, expected)]
        assert kinds[0] == kinds[1], answer
        if "error" in expected:
            assert answer == expected
    assert (tmp_path / "embeddings.f32").stat().st_size == 2 * 4096 * 4


def test_the_documentation_names_every_figure(client: httpx.Client) -> None:
    page = (ROOT / "docs/serving.md").read_text()
    assert asked(client, png(), b"").status_code == 400
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("# HELP siamese_"):
            assert f"`{line.split()[2]}" in page
