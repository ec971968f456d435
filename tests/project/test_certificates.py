"""Behind a proxy with a company's certificate, what make calls trusts the machine's certificates, or the user's own.

A package index on loopback has a certificate of a private authority, which only the file that stands for the machine's
certificates contains.
"""

from __future__ import annotations

import hashlib
import ssl
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from shlex import quote
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from test_make import Clone, clone_at

CLIENTS = """
import asyncio, sys, urllib.request
import aiohttp, httpx, requests
address = sys.argv[1]
async def by_aiohttp():
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        assert answer.status == 200
asyncio.run(by_aiohttp())
assert urllib.request.urlopen(address).status == 200
assert requests.get(address).status_code == httpx.get(address).status_code == 200
"""


@dataclass(frozen=True)
class Index:
    """A package index, and the files of the authority that vouches for it and of another one."""

    address: str
    authority: Path
    other: Path
    requirements: dict[str, str]

    @property
    def variables(self) -> dict[str, str]:
        """Of a machine that has this index in place of the public one."""
        return {
            "PYTHON": sys.executable,
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": self.address,
            "PIP_RETRIES": "0",
            "UV_NO_CONFIG": "1",
            "UV_DEFAULT_INDEX": self.address,
            "UV_HTTP_RETRIES": "0",
            "UV_CACHE_DIR": str(self.authority.parent / "cache"),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


def authority(file: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Write the certificate of an authority and return it with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, file.stem)])
    made = (
        certificate(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return made, key


def certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


def certificate_of_loopback(file: Path, issuer: x509.Certificate, issuers: ec.EllipticCurvePrivateKey) -> None:
    """Write a server's certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        certificate(name, issuer.subject, key)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(issuers, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(secret + made.public_bytes(pem))


def add_package(index: Path, name: str, files: dict[str, str]) -> str:
    """Add a wheel to the index and return its line of a requirement file."""
    folder = index / name
    folder.mkdir(parents=True)
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    about = f"{name}-1.0.dist-info"
    files |= {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for file, content in (files | {f"{about}/RECORD": record}).items():
            entry = zipfile.ZipInfo(file)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, content)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "index.html").write_text(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>')
    return f"{name}==1.0 --hash=sha256:{digest}\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """It has two packages: `uv`, which calls the true uv, and `tiny`."""
    folder = tmp_path_factory.mktemp("index")
    vouched = authority(folder / "authority.pem")
    authority(folder / "other.pem")
    certificate_of_loopback(folder / "server.pem", *vouched)
    uv = f'#!/bin/sh\nexec {quote(str(Path(sys.executable).with_name("uv")))} "$@"\n'
    lines = {
        "requirements/build.txt": add_package(folder / "simple", "uv", {"uv-1.0.data/scripts/uv": uv}),
        "requirements/dev.txt": add_package(folder / "simple", "tiny", {"tiny.py": ""}),
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"https://127.0.0.1:{server.server_port}/simple/"
    yield Index(address, folder / "authority.pem", folder / "other.pem", lines)
    server.shutdown()
    server.server_close()


@pytest.fixture
def clone(index: Index, tmp_path: Path) -> Clone:
    made = clone_at(tmp_path / "face id")
    for file, line in index.requirements.items():
        (made.folder / file).write_text(line)
    return made


def test_pip_and_uv_trust_the_certificates_of_the_machine(clone: Clone, index: Index) -> None:
    machine = f"CERTIFICATES={index.authority}"
    clone.make(".venv/bin/uv", machine, **index.variables)
    (clone.folder / ".venv/for-users").touch()  # as if all that the pipeline needs were installed
    unknown = clone.make(".venv/for-developers", f"CERTIFICATES={index.other}", exit_code=2, **index.variables)
    assert "UnknownIssuer" in unknown
    clone.make(".venv/for-developers", machine, **index.variables)
    assert list(clone.folder.glob(".venv/lib/*/site-packages/tiny.py"))


def test_pip_trusts_the_certificates_of_its_own_configuration_first(clone: Clone, index: Index) -> None:
    given = index.variables | {"PIP_CERT": str(index.authority)}
    clone.make(".venv/bin/uv", f"CERTIFICATES={index.other}", **given)
    assert (clone.folder / ".venv/bin/uv").exists()


def test_clients_that_make_calls_trust_the_certificates_of_the_machine(
    clone: Clone, index: Index, tmp_path: Path
) -> None:
    (tmp_path / "clients.py").write_text(CLIENTS)
    call = "probe: ; @$(call quoted,$(PYTHON)) ../clients.py " + index.address
    clone.make("--eval", call, "probe", f"CERTIFICATES={index.authority}", **index.variables)
    clone.make("--eval", call, "probe", f"CERTIFICATES={index.other}", exit_code=2, **index.variables)


MACHINE = {"SSL_CERT_FILE": "/of the machine.pem", "REQUESTS_CA_BUNDLE": "/of the machine.pem"}


@pytest.mark.parametrize(
    ("own", "seen"),
    [
        ({}, MACHINE),
        ({"SSL_CERT_FILE": "/my.pem"}, MACHINE | {"SSL_CERT_FILE": "/my.pem"}),
        ({"SSL_CERT_DIR": "/mine"}, {"SSL_CERT_DIR": "/mine", "REQUESTS_CA_BUNDLE": "/of the machine.pem"}),
        ({"REQUESTS_CA_BUNDLE": "/my.pem"}, MACHINE | {"REQUESTS_CA_BUNDLE": "/my.pem"}),
        ({"CURL_CA_BUNDLE": "/my.pem"}, {"SSL_CERT_FILE": "/of the machine.pem", "CURL_CA_BUNDLE": "/my.pem"}),
    ],
)
def test_certificates_that_the_user_names_are_kept(clone: Clone, own: dict[str, str], seen: dict[str, str]) -> None:
    said = clone.make("--eval", "probe: ; @env", "probe", "CERTIFICATES=/of the machine.pem", **own)
    environment = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    assert {name: value for name, value in environment.items() if name in {*MACHINE, *own}} == seen


def test_a_machine_without_a_file_of_certificates_changes_nothing(clone: Clone) -> None:
    said = clone.make("--eval", "probe: ; @env", "probe", "CERTIFICATES=")
    assert not any(name in said for name in MACHINE)
