"""Events for Splunk: what an answer means, and what is refused. What is sent is compared in `golden/test_wire.py`."""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit
from tests.agent.engine.golden.wire import delivered

BATCH = Batch("app", [1_000_000_000], [{"a": 1}])


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.OK),
        (201, Result.RETRY),
        (204, Result.RETRY),
        (302, Result.RETRY),
        (400, Result.ERROR),
        (403, Result.ERROR),
        (408, Result.RETRY),
        (429, Result.RETRY),
        (503, Result.RETRY),
    ],
)
async def test_only_200_is_delivered(plugins: PluginKit, status: int, result: Result) -> None:
    results, _ = await delivered("splunk", [BATCH], plugins, answers=[{"status": status}], splunk_token="x")
    assert results == [result]


async def test_chunks_that_are_tried_again_are_the_same_request(plugins: PluginKit) -> None:
    answers = [{"status": 503, "body": '{"text":"Server is busy","code":9}'}, {"status": 200}]
    results, sent = await delivered("splunk", [BATCH, BATCH], plugins, answers=answers, splunk_token="x")
    assert results == [Result.RETRY, Result.OK]
    assert sent[0] == sent[1]
    assert sent[0]["body"] == '{"time":1.0,"event":{"a":1}}'


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({}, "splunk_token.*is missing"),
        ({"http_user": "u", "splunk_token": "x"}, "needs http_passwd"),
        ({"splunk_token": "x\r\ny"}, "'Authorization' is not a header"),
        ({"splunk_token": "x", "channel": "a\nb"}, "'X-Splunk-Request-Channel' is not a header"),
        ({"splunk_token": "x", "event_key": "log"}, "event_key.*expected a \\$key"),
        ({"splunk_token": "x", "event_key": "$log['a"}, "event_key.*not a record accessor"),
        ({"splunk_token": "x", "event_host": "a-$h['"}, "event_host.*not a record accessor"),
        ({"splunk_token": "x", "event_field": "level $a['"}, "event_field.*not a record accessor"),
        ({"splunk_token": "x", "port": 0}, "port.*from 1 to 65535"),
    ],
)
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        plugins.make(outputs, "splunk", **properties)
