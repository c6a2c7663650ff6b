"""TLS to Postgres by the words of the URL: what is verified, and that a doubtful server is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.state import open_store
from headrace.errors import InvalidError, UnavailableError
from tests.certificates import make_certificate
from tests.processes import wait_until
from tests.servers import Postgres


@pytest.fixture
def certificate(postgres_server: Postgres, tmp_path: Path) -> Iterator[Path]:
    """The server speaks TLS with it for the length of the test."""
    path = make_certificate(tmp_path, "server")
    data = Path(postgres_server.run("SHOW data_directory"))
    for file in (path, path.with_suffix(".key")):
        copy = Path(shutil.copy(file, data))
        copy.chmod(0o600)
        os.chown(copy, data.stat().st_uid, data.stat().st_gid)
    postgres_server.run("ALTER SYSTEM SET ssl_cert_file = 'server.pem'")
    postgres_server.run("ALTER SYSTEM SET ssl_key_file = 'server.key'")
    set_tls(postgres_server, "on")
    yield path
    set_tls(postgres_server, "off")


def set_tls(server: Postgres, state: str) -> None:
    server.run(f"ALTER SYSTEM SET ssl = {state}")
    server.run("SELECT pg_reload_conf()")
    wait_until(lambda: server.run("SHOW ssl") == state)


async def opened(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()


async def test_a_verified_server_is_spoken_to_in_tls_alone(postgres_server: Postgres, postgres_url: str, certificate):
    store = open_store(f"{postgres_url}?sslmode=verify-full&sslrootcert={certificate}")
    await store.open()
    async with store.read() as reader:
        await reader.plane()
        assert (
            postgres_server.run(
                "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'headrace'"
            )
            == "t"
        )
    await store.close()


async def test_a_server_with_another_certificate_is_refused(postgres_url: str, certificate, tmp_path: Path):
    other = make_certificate(tmp_path, "other")
    with pytest.raises(UnavailableError, match=r"cannot be reached: .*certificate verify failed"):
        await opened(f"{postgres_url}?sslmode=verify-full&sslrootcert={other}")


async def test_a_server_with_another_name_is_refused_unless_only_its_authority_counts(postgres_url: str, certificate):
    by_name = postgres_url.replace("127.0.0.1", "localhost")
    with pytest.raises(UnavailableError, match="certificate is not valid for 'localhost'"):
        await opened(f"{by_name}?sslmode=verify-full&sslrootcert={certificate}")
    await opened(f"{by_name}?sslmode=verify-ca&sslrootcert={certificate}")


async def test_a_server_without_tls_is_refused_where_the_url_asks_for_it(postgres_url: str):
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await opened(f"{postgres_url}?sslmode=require")


async def test_a_root_certificate_that_is_not_there_is_said(postgres_url: str, tmp_path: Path):
    with pytest.raises(InvalidError, match=r"not there: sslrootcert=.*/none\.pem"):
        await opened(f"{postgres_url}?sslmode=verify-full&sslrootcert={tmp_path}/none.pem")
