"""An S3 of moto's: a server process on a port of its own, spoken to over HTTP, ended with the tests.

In `conftest.py`: `from tests.s3 import s3, s3_server`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port


@dataclass(frozen=True)
class S3:
    """A server. Its buckets are there for whoever has `environment`."""

    endpoint: str
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A client of Amazon's own, to see what is really there."""
        import botocore.session

        return botocore.session.Session().create_client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )  # fmt: skip

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name


@contextmanager
def started(log: Path, **environment: str) -> Iterator[S3]:
    """A server with further variables in its environment. What it says goes to `log`."""
    port = free_port()
    with log.open("wb") as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while not _answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.05)
        yield S3(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """One server for all tests, each of which has buckets of its own."""
    with started(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, as where this process and its children find S3."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server
