"""The servers and child programs of the tests do what the tests take for granted."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import asyncpg
import pytest

from tests import processes
from tests.influxd import Influxd
from tests.processes import Program, eventually, wait_until
from tests.servers import Nginx, Postgres, find


async def test_each_test_gets_an_empty_database_and_no_superuser(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert await connection.fetchval("SELECT current_setting('is_superuser')") == "off"
        await connection.execute("CREATE TABLE leftover (id int)")
    finally:
        await connection.close()


async def test_a_killed_postgres_comes_back_with_its_rows(postgres_server: Postgres, postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
    postgres_server.kill()
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await connection.fetchval("SELECT id FROM kept")
    connection.terminate()
    postgres_server.start()
    assert postgres_server.run("SELECT id FROM kept", database=postgres_url.rpartition("/")[2]) == "1"


async def test_a_pooling_proxy_reaches_the_same_database(postgres_url: str, pgbouncer_url: str) -> None:
    direct = await asyncpg.connect(postgres_url)
    pooled = await asyncpg.connect(pgbouncer_url, statement_cache_size=0)
    try:
        await direct.execute("CREATE TABLE shared AS SELECT 7 AS id")
        assert await pooled.fetchval("SELECT id FROM shared") == 7
    finally:
        await pooled.close()
        await direct.close()


def test_nginx_writes_one_line_per_request_and_rotates(nginx: Nginx) -> None:
    _get(f"{nginx.url}/first")
    wait_until(lambda: "GET /first" in nginx.access_log.read_text())
    old = nginx.rotate()
    _get(f"{nginx.url}/second")
    wait_until(lambda: "GET /second" in nginx.access_log.read_text())
    assert [len(path.read_text().splitlines()) for path in (old, nginx.access_log)] == [1, 1]


def test_a_killed_influxdb_comes_back_with_what_it_answered(influxd: Influxd) -> None:
    influxd.query("CREATE DATABASE kept")
    line = urllib.request.Request(f"{influxd.url}/write?db=kept", data=b"cpu,host=a load=1.5 1000000001")
    with urllib.request.urlopen(line, timeout=10) as response:
        assert response.status == 204
    influxd.kill()
    influxd.start()
    (series,) = influxd.query("SELECT * FROM cpu", database="kept")
    assert series == {"name": "cpu", "columns": ["time", "host", "load"], "values": [[1_000_000_001, "a", 1.5]]}


def test_a_missing_server_skips_or_fails_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("HEADRACE_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install nginx"):
        find("nginx", "no-such-program", Path("/nonexistent"))
    monkeypatch.setenv("HEADRACE_REQUIRE", "postgres, nginx")
    with pytest.raises(pytest.fail.Exception, match="apt-get install nginx"):
        find("nginx", "no-such-program", Path("/nonexistent"))


def test_a_program_says_when_it_is_ready_and_ends_when_asked(tmp_path: Path) -> None:
    write = "import pathlib; pathlib.Path('ready.json').write_text('{\"port\": 1}')"
    code = f"{write}; print('hello', flush=True); import signal; signal.pause()"
    with Program([sys.executable, "-c", code], folder=tmp_path) as program:
        assert program.wait_for_json(tmp_path / "ready.json") == {"port": 1}
        program.wait_for(lambda: "hello" in program.output)
        assert program.stop() == -signal.SIGTERM


def test_a_program_that_ends_early_fails_the_wait_with_its_log(tmp_path: Path) -> None:
    with Program([sys.executable, "-c", "raise SystemExit('no port left')"], folder=tmp_path) as program:
        with pytest.raises(AssertionError, match="ended with status 1; its log ends with:\nno port left"):
            program.wait_for(lambda: False)


def test_what_a_program_leaves_in_its_folder_is_ended_with_it(tmp_path: Path) -> None:
    code = f"import subprocess; subprocess.Popen([{sys.executable!r}, '-c', 'import signal; signal.pause()'])"
    with Program([sys.executable, "-c", code], folder=tmp_path) as program:
        assert program.wait() == 0
        assert len(processes.processes_in(tmp_path)) == 1
    wait_until(lambda: not processes.processes_in(tmp_path))


def test_a_leaked_child_is_seen() -> None:
    before = processes.children()
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    assert processes.children() - before == {child.pid}
    child.kill()
    assert processes.children() - before == {child.pid}, "a zombie counts: somebody has to reap it"
    child.wait()
    assert not processes.children() - before


async def test_a_condition_may_be_a_coroutine() -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.05, done.set_result, os.getpid())

    async def answer() -> int | None:
        return done.result() if done.done() else None

    assert await eventually(answer) == os.getpid()


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=10) as response:
        assert response.status == 200
