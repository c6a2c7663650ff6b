"""Documents for Elasticsearch and OpenSearch: what answers mean. What is sent is compared in `golden/test_wire.py`."""

import json
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import NOW, PluginKit
from tests.agent.engine.golden.wire import delivered

BATCH = Batch("app", [1_000_000_000, 2_000_000_000], [{"a": 1}, {"a": 2}])
BOTH = pytest.mark.parametrize("name", ["es", "opensearch"])


def items(*statuses: int) -> dict[str, Any]:
    documents = [{"create": {"_index": "x", "status": status}} for status in statuses]
    return {"body": json.dumps({"took": 1, "errors": True, "items": documents})}


@BOTH
@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ({"body": '{"took":1,"errors":false,"items":[]}'}, Result.OK),
        ({"status": 201, "body": '{"errors":false}'}, Result.OK),
        ({"body": ""}, Result.RETRY),
        ({"body": "[]"}, Result.RETRY),
        ({"body": "<html>"}, Result.RETRY),
        ({"body": '{"errors":"no"}'}, Result.RETRY),
        ({"body": '{"errors":true}'}, Result.RETRY),
        ({"body": '{"errors":true,"items":[]}'}, Result.RETRY),
        ({"body": '{"errors":true,"items":[{"create":{"status":"x"}}]}'}, Result.RETRY),
        ({"body": '{"errors":true,"items":[5]}'}, Result.RETRY),
        ({"status": 204}, Result.RETRY),
        ({"status": 400, "body": "{}"}, Result.RETRY),
        ({"status": 401}, Result.RETRY),
        ({"status": 413}, Result.RETRY),
        ({"status": 429}, Result.RETRY),
        ({"status": 503}, Result.RETRY),
        (items(201, 201), Result.OK),
        (items(409, 409), Result.OK),
        (items(409, 201), Result.OK),
        (items(201, 400), Result.OK),
        (items(409, 400), Result.OK),
        (items(400, 400), Result.RETRY),
        (items(201, 429), Result.RETRY),
        (items(503, 201), Result.RETRY),
        (items(400, 503), Result.RETRY),
    ],
)
async def test_an_answer_decides_for_the_whole_chunk(
    plugins: PluginKit, name: str, answer: dict[str, Any], result: Result
) -> None:
    results, _ = await delivered(name, [BATCH], plugins, answers=[answer])
    assert results == [result]


@BOTH
async def test_what_is_refused_is_logged(plugins: PluginKit, name: str, caplog: pytest.LogCaptureFixture) -> None:
    await delivered(name, [BATCH], plugins, answers=[items(201, 400)], trace_error=True)
    assert "1 of 2 documents were refused (status 400); these are dropped" in caplog.text
    assert 'error: Output\n{"took": 1' in caplog.text


@BOTH
async def test_an_answer_longer_than_the_buffer_tells_by_its_beginning(plugins: PluginKit, name: str) -> None:
    taken = json.dumps({"errors": False, "items": [{"create": {"status": 201}}] * 500}, separators=(",", ":"))
    failed = json.dumps({"errors": True, "items": [{"create": {"status": 201}}] * 500}, separators=(",", ":"))
    answers = [{"body": taken}, {"body": failed}]
    results, _ = await delivered(name, [BATCH, BATCH], plugins, answers=answers, buffer_size="4k")
    assert results == [Result.OK, Result.RETRY]
    results, _ = await delivered(name, [BATCH, BATCH], plugins, answers=answers, buffer_size="false")
    assert results == [Result.OK, Result.OK]


@BOTH
async def test_a_made_id_is_that_of_the_content(plugins: PluginKit, name: str) -> None:
    batch = Batch("app", [1, 1, 2, 1_000_000_000], [{"a": 1}, {"a": 2}, {"a": 1}, {"a": 1}])
    _, (first, again) = await delivered(name, [batch, batch], plugins, generate_id=True)
    assert first == again
    ids = [json.loads(line)["create"]["_id"] for line in first["body"].splitlines()[::2]]
    assert ids[0] == ids[2], "the same within a millisecond"
    assert len(set(ids)) == 3


@BOTH
async def test_a_record_without_the_key_has_no_id_of_another_one(plugins: PluginKit, name: str) -> None:
    batch = Batch("app", [1, 2, 3], [{"id": "one"}, {"b": 2}, {"id": 'a"b'}])
    _, (request,) = await delivered(name, [batch], plugins, id_key="$id", suppress_type_name=True)
    heads = [json.loads(line)["create"] for line in request["body"].splitlines()[::2]]
    assert heads == [{"_index": "fluent-bit", "_id": "one"}, {"_index": "fluent-bit"}, {"_index": "fluent-bit"}]


@BOTH
async def test_a_chunk_of_which_nothing_can_be_sent_is_done_with(plugins: PluginKit, name: str) -> None:
    results, sent = await delivered(name, [BATCH], plugins, id_key="id", write_operation="update")
    assert (results, sent) == ([Result.OK], [])


@BOTH
async def test_the_present_time_can_stand_for_that_of_records(plugins: PluginKit, name: str) -> None:
    properties = {"current_time_index": True, "logstash_format": True}
    _, (request,) = await delivered(name, [BATCH], plugins, **properties)
    head, document, *_ = map(json.loads, request["body"].splitlines())
    assert NOW == 1_772_359_200_000_000_000
    assert head["create"]["_index"] == "logstash-2026.03.01"
    assert document["@timestamp"] == "2026-03-01T10:00:00.000Z"


@BOTH
async def test_an_index_has_the_date_of_sending(plugins: PluginKit, name: str) -> None:
    _, (request,) = await delivered(name, [BATCH], plugins, index="app-%Y.%m", trace_output=True)
    assert json.loads(request["body"].splitlines()[0])["create"]["_index"] == "app-2026.03"


@BOTH
@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"write_operation": "update"}, "write_operation.*needs id_key or generate_id"),
        ({"index": 'a"b'}, "index.*quotes"),
        ({"path": "/a b"}, "path.*spaces"),
        ({"pipeline": "p\r\nX: y"}, "pipeline.*spaces"),
        ({"id_key": "$a['"}, "id_key.*not a record accessor"),
        ({"logstash_prefix_key": "$a['"}, "logstash_prefix_key.*not a record accessor"),
        ({"buffer_size": "much"}, "buffer_size"),
    ],
)
def test_what_cannot_work_is_refused(
    plugins: PluginKit, name: str, properties: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidProperty, match=message):
        plugins.make(outputs, name, **properties)


def test_an_index_of_opensearch_that_is_no_template_is_refused(plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty, match=r"index.*not a record accessor"):
        plugins.make(outputs, "opensearch", index="a-$b['")
