"""How fast a training is fed with stored pixels: from a disk, and from object stores of three kinds.

    python benchmarks/feeding.py [IMAGES]

A store is a process on this machine: moto, an S3 server in Python that is slow by itself; and a server that does
nothing but send, at once (what the client can do) or each time after 20 ms (what a store in the same region may take;
assumed, not measured). Batches are of random rows, all different, so nothing is read twice. "One by one" asks for a
batch when the one before has come; "ahead" is what training does.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
PER_FILE = 512
BATCHES = (32, 256)
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def main(images: int = 4096) -> None:
    from storage_servers import s3_server

    os.environ |= KEYS
    with TemporaryDirectory() as place:
        folder = Path(place) / "images"
        write(folder, images)
        measure("local disk, page cache", str(folder), images)
        with sender(folder, 0) as address:
            measure("store that sends at once", "s3://bucket/images", images, address)
        with sender(folder, 20) as address:
            measure("store that waits 20 ms", "s3://bucket/images", images, address)
        with s3_server(Path(place) / "log") as address:
            upload(folder, address)
            measure("moto", "s3://bucket/images", min(images, 512), address)  # it reads a whole object for each part


def write(folder: Path, images: int) -> None:
    """A set of random pixels."""
    from siamese.preprocessing.records import INDEX, file_name, index_of, index_table, to_records

    rng = np.random.default_rng(0)
    ids = sorted(f"{number:064x}" for number in rng.choice(2**62, images, replace=False).tolist())
    folder.mkdir()
    entries = []
    for number, first in enumerate(range(0, images, PER_FILE)):
        part = ids[first : first + PER_FILE]
        records = to_records(part, rng.integers(256, size=(len(part), 100, 100, 3), dtype=np.uint8))
        records.tofile(folder / file_name(number, -(-images // PER_FILE)))
        entries.append(index_of(records))
    (folder / INDEX).write_bytes(index_table(entries))


def upload(folder: Path, address: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket="bucket")
    for file in folder.iterdir():
        client.upload_file(str(file), "bucket", f"images/{file.name}")


def measure(name: str, uri: str, images: int, address: str = "") -> None:
    """Prints images a second of `images` rows, median of three, after the connections are made; and the least time of
    a processor that the reader took for one, which other programs on the machine disturb less."""
    from siamese.preprocessing import pixel_store
    from siamese.storage import object_store

    if address:
        object_store._SETTINGS["s3"]["endpoint_url"] = address
    began = time.perf_counter()
    pixel_store.open_store(object_store.as_path(uri)).rows([0])
    opening = time.perf_counter() - began
    figures = []
    for batch in BATCHES:
        for ahead in (False, True):
            rates, spent = [], []
            for turn in range(3):
                found = pixel_store.open_store(object_store.as_path(uri))
                order = np.random.default_rng(turn).permutation(len(found))[: images // batch * batch]
                began, busy = time.perf_counter(), time.process_time()
                batches = order.reshape(-1, batch)
                for _ in found.batches(batches) if ahead else map(found.rows, batches):
                    pass
                rates.append(len(order) / (time.perf_counter() - began))
                spent.append((time.process_time() - busy) / len(order) * 1e3)
            how = f"batch {batch} {'ahead' if ahead else 'one by one'}"
            figures.append(f"{how} {sorted(rates)[1]:,.0f}/s, {min(spent):.2f} ms")
    print(f"{name}: opened in {opening:.2f} s; {'; '.join(figures)}", flush=True)


@contextmanager
def sender(folder: Path, milliseconds: int) -> Iterator[str]:
    """The address of a process that runs `send`."""
    command = [sys.executable, __file__, "send", str(folder), str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.terminate()


async def send(folder: Path, seconds: float) -> None:
    """A server of bucket/images that lists and sends, as far as a reader asks for it. Prints its port."""
    contents = {file.name: file.read_bytes() for file in folder.iterdir()}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            method, target, _ = head.decode().split(" ", 2)
            await asyncio.sleep(seconds)
            url = urlsplit(target)
            status, kind, body = "200 OK", "binary/octet-stream", b""
            name = url.path.rpartition("/")[2]
            if "list-type" in parse_qs(url.query):
                kind, body = "application/xml", listing(contents)
            elif name not in contents:
                status = "404 Not Found"
            elif found := re.search(rb"(?i)\r\nrange: bytes=(\d+)-(\d+)", head):
                status, body = "206 Partial Content", contents[name][int(found[1]) : int(found[2]) + 1]
            else:
                body = contents[name]
            writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            if method != "HEAD":
                writer.write(body)
            await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def listing(contents: dict[str, bytes]) -> bytes:
    entries = "".join(
        f"<Contents><Key>images/{name}</Key><Size>{len(content)}</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for name, content in sorted(contents.items())
    )
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        asyncio.run(send(Path(sys.argv[2]), int(sys.argv[3]) / 1000))
    else:
        main(*map(int, sys.argv[1:]))
