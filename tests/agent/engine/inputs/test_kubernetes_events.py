"""Events of a cluster: answers by table, lists and watches of a fake API server, a real Fluent Bit beside."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.inputs.kubernetes_events import events
from agent.engine.inputs.kubernetes_events.events import Gone, Lines, NotUnderstood, read_line, read_page
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, EngineKit, PluginKit, Sink, running_input
from tests.agent.engine.kubernetes_api import FakeKubernetes, Watch
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit
from tests.processes import eventually

PATH = "/api/v1/events"


@pytest.fixture
async def api() -> AsyncIterator[FakeKubernetes]:
    async with FakeKubernetes().listening() as listening:
        yield listening


def event(uid: str, version: int, *, at: int = NOW, **more: Any) -> dict[str, Any]:
    when = datetime.fromtimestamp(at // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"uid": uid, "resourceVersion": str(version), "creationTimestamp": when}
    return {"metadata": about, "lastTimestamp": when, "message": f"{uid} {version}"} | more


def page(version: int, *items: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    about = {"resourceVersion": str(version)} | ({"continue": token} if token else {})
    return {"kind": "EventList", "metadata": about, "items": list(items)}


def change(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": item}


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}


def make(plugins: PluginKit, api: FakeKubernetes, **more: Any) -> Any:
    more = {"kube_url": api.url, "kube_token_file": "/none", "interval_nsec": 10_000_000} | more
    return plugins.make(inputs, "kubernetes_events", **more)


def messages(sink: Sink) -> list[str]:
    return [record["message"] for record in sink.records]


def test_a_page_has_events_its_version_and_the_token_of_the_next() -> None:
    odd: list[Any] = [{"metadata": {"uid": "x"}}, {"metadata": {"resourceVersion": "1"}}, "no"]
    found = read_page(json.dumps(page(9, event("a", 1), *odd, token="t")).encode())
    assert [(item.uid, item.version, item.time) for item in found.events] == [("a", 1, NOW)]
    assert (found.version, found.token) == (9, "t")


@pytest.mark.parametrize(
    ("times", "second"),
    [
        ({}, 3),
        ({"firstTimestamp": "1970-01-01T00:00:02Z"}, 2),
        ({"firstTimestamp": "1970-01-01T00:00:02Z", "lastTimestamp": "1970-01-01T00:00:01Z"}, 1),
        ({"firstTimestamp": None, "lastTimestamp": "yesterday"}, 3),
        ({"metadata": {"uid": "a", "resourceVersion": "1"}}, 0),
    ],
    ids=["created", "first", "last", "unreadable", "none"],
)
def test_the_time_is_the_last_the_first_or_that_of_the_object(times: dict[str, Any], second: int) -> None:
    created = {"uid": "a", "resourceVersion": "1", "creationTimestamp": "1970-01-01T00:00:03Z"}
    (found,) = read_page(json.dumps(page(1, {"metadata": created} | times)).encode()).events
    assert found.time == second * 10**9


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"items": 1}', b"{}"], ids=["no JSON", "a list", "items that are none", "nothing"]
)
def test_a_page_that_is_none_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read_page(body)


def test_a_line_of_a_watch_is_a_change_a_mark_or_the_end() -> None:
    assert read_line(json.dumps(change("BOOKMARK", {"metadata": {"resourceVersion": "7"}})).encode()) == (7, None)
    assert read_line(json.dumps(change("DELETED", event("a", 8))).encode()) == (8, None)
    version, found = read_line(json.dumps(change("MODIFIED", event("a", 9))).encode())
    assert found is not None
    assert (version, found.uid, found.version) == (9, "a", 9)
    with pytest.raises(Gone):
        read_line(json.dumps(GONE).encode())
    for line in (b"no", b'{"type": "ERROR", "object": {"code": 500, "message": "broken"}}'):
        with pytest.raises(NotUnderstood, match=r"no JSON|the watch ended: broken"):
            read_line(line)


@given(st.lists(st.binary(max_size=9)), st.integers(1, 5))
def test_lines_are_the_same_however_their_bytes_come(parts: list[bytes], step: int) -> None:
    data, lines, found = b"\n".join(parts), Lines(), []
    for at in range(0, len(data), step):
        found += lines.feed(data[at : at + step])
    assert found == [line for line in data.split(b"\n")[:-1] if line.strip()]


def test_a_line_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LONGEST", 10)
    with pytest.raises(NotUnderstood, match="more than 10 bytes"):
        Lines().feed(b"x" * 11)


async def test_the_list_is_read_page_by_page_and_then_watched(
    plugins: PluginKit, sink: Sink, api: FakeKubernetes
) -> None:
    old = event("old", 3, at=NOW - 7200 * 10**9)
    api.answers[PATH] = [page(10, event("a", 1), old, token="more&more"), page(11, event("b", 2))]
    watch = Watch(change("ADDED", event("c", 12)), change("DELETED", event("a", 13)))
    api.answers[PATH + "?watch"] = watch
    async with running_input(make(plugins, api, kube_request_limit=2), sink):
        await sink.take(3)
        watch.say(change("MODIFIED", event("b", 14)), change("ADDED", event("b", 14)))
        await sink.take(4)
    assert messages(sink) == ["a 1", "b 2", "c 12", "b 14"]
    assert sink.batches[0].times == [NOW]
    assert api.asked == [
        (PATH, {"limit": "2"}),
        (PATH, {"continue": "more&more", "limit": "2"}),
        (PATH, {"watch": "1", "resourceVersion": "11", "timeoutSeconds": "600"}),
    ]


async def test_a_watch_that_ends_is_begun_again_where_it_was(
    plugins: PluginKit, sink: Sink, api: FakeKubernetes
) -> None:
    first, second = Watch(change("ADDED", event("a", 12))), Watch(change("ADDED", event("b", 13)))
    first.end()
    api.answers |= {
        "/api/v1/namespaces/one/events": page(10),
        "/api/v1/namespaces/one/events?watch": [first, second],
    }
    async with running_input(make(plugins, api, kube_namespace="one", kube_watch_timeout=0), sink):
        await sink.take(2)
    assert messages(sink) == ["a 12", "b 13"]
    assert [query.get("resourceVersion") for _, query in api.asked] == [None, "10", "12"]


@pytest.mark.parametrize("how", ["in the watch", "by status"])
async def test_a_version_that_the_server_has_forgotten_is_listed_anew_without_doubles(
    plugins: PluginKit, sink: Sink, api: FakeKubernetes, how: str
) -> None:
    api.answers[PATH] = [page(10, event("a", 1)), page(30, event("a", 1), event("b", 20), event("c", 25))]
    gone: Any = Watch(change("ADDED", event("b", 20)), GONE) if how == "in the watch" else 410
    api.answers[PATH + "?watch"] = [gone, Watch()]
    async with running_input(make(plugins, api), sink):
        await eventually(lambda: [query.get("resourceVersion") for _, query in api.asked] == [None, "10", None, "30"])
        await sink.take(3)
    assert messages(sink) == ["a 1", "b 20", "c 25"]


def rows(database: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute("SELECT uid, resourceVersion, created FROM in_kubernetes_events").fetchall()
    finally:
        connection.close()


async def test_what_is_delivered_does_not_come_again_after_a_restart(
    plugins: PluginKit, sink: Sink, api: FakeKubernetes, tmp_path: Path
) -> None:
    database = tmp_path / "events.db"
    with sqlite3.connect(database) as connection:  # as Fluent Bit leaves it
        connection.execute(
            "CREATE TABLE in_kubernetes_events (id INTEGER PRIMARY KEY, uid TEXT NOT NULL,"
            " resourceVersion INTEGER NOT NULL, created INTEGER NOT NULL)"
        )
        add = "INSERT INTO in_kubernetes_events (uid, resourceVersion, created) VALUES (?, ?, ?)"
        connection.executemany(add, [("a", 1, NOW), ("x", 1, 5)])
    connection.close()
    api.answers[PATH] = page(10, event("a", 1), event("b", 2))
    watch = Watch(change("ADDED", event("c", 12)))
    api.answers[PATH + "?watch"] = watch
    async with running_input(make(plugins, api, db=str(database)), sink):
        await sink.take(2)
        assert rows(database) == [("a", 1, NOW)], "too old ones are forgotten, others not yet delivered"
        sink.acks[0]()
        assert rows(database) == [("a", 1, NOW), ("b", 2, NOW)]
    assert messages(sink) == ["b 2", "c 12"]
    watch.events = []
    api.answers[PATH] = page(20, event("a", 15), event("b", 2), event("c", 12))
    again = Sink()
    async with running_input(make(plugins, api, db=str(database)), again):
        await again.take(2)
    assert messages(again) == ["a 15", "c 12"]


async def test_trouble_is_told_once_and_ends_when_the_server_is_back(
    plugins: PluginKit, sink: Sink, api: FakeKubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    api.answers[PATH] = 403
    async with running_input(make(plugins, api), sink):
        await eventually(lambda: len(api.asked) > 3)
        api.answers[PATH] = page(10, event("a", 1))
        api.answers[PATH + "?watch"] = Watch()
        await sink.take(1)
    told = [record.getMessage() for record in caplog.get_records("call") if "no events" in record.msg]
    assert set(told) == {
        f"[input:kubernetes_events:kubernetes_events.0] no events from 127.0.0.1:{api.port}{PATH}: HTTP status=403"
    }


TEXT = """
    service: {{flush: 0.05, grace: 1}}
    pipeline:
      inputs:
        - name: kubernetes_events
          tag: k
          kube_url: {url}
          kube_token_file: token
          kube_request_limit: 1
          {more}
      outputs:
        - {{name: file, match: '*', file: out, format: plain}}
    """


async def test_a_reload_goes_on_where_the_input_was(kit: EngineKit, api: FakeKubernetes) -> None:
    now = int(datetime.now(UTC).timestamp()) * 10**9
    watch = Watch(change("ADDED", event("b", 12, at=now)))
    api.answers |= {PATH: page(10, event("a", 1, at=now)), PATH + "?watch": watch}
    text = TEXT.format(url=api.url, more="db: events.db")
    async with kit.run(text) as running:
        await kit.has_lines("out", 2)
        assert await running.reload(text.replace("events.db", "events.db\n          kube_retention_time: 30m"))
        await eventually(lambda: len(api.asked) == 3)
        watch.say(change("ADDED", event("c", 13, at=now)))
        await kit.has_lines("out", 3)
    assert [json.loads(line)["message"] for line in kit.lines("out")] == ["a 1", "b 12", "c 13"]
    assert len(rows(kit.folder / "events.db")) == 3


@needs_fluent_bit
async def test_a_real_fluent_bit_makes_the_same_of_the_same_answers(kit: EngineKit, api: FakeKubernetes) -> None:
    kit.write("token", "secret")
    now = int(datetime.now(UTC).timestamp()) * 10**9
    listed = [event("a", 1, at=now), event("old", 2, at=now - 7200 * 10**9), event("b", 3, at=now, lastTimestamp=None)]
    changes = [
        ("ADDED", "c", 12),
        ("DELETED", "a", 13),
        ("MODIFIED", "b", 14),
        ("BOOKMARK", "d", 15),
        ("ADDED", "e", 16),
    ]
    found = []
    for program in ([], [FLUENT_BIT]):
        api.answers[PATH] = [page(10, *listed[:2], token="t"), page(10, listed[2])]
        api.answers[PATH + "?watch"] = Watch(*(change(kind, event(uid, v, at=now)) for kind, uid, v in changes))
        text = TEXT.format(url=api.url, more="interval_sec: 1")
        if program:
            with kit.child(text, program=program):
                lines = await kit.has_lines("out", 5)
        else:
            async with kit.run(text):
                lines = await kit.has_lines("out", 5)
        found.append(list(map(json.loads, lines)))
        (kit.folder / "out").unlink()
    assert found[0] == found[1]
    own, real = api.asked[:3], api.asked[3:6]
    assert own == real
    assert set(api.tokens) == {"Bearer secret"}
