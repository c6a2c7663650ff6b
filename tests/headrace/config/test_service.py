"""The managed service section: what management needs wins, and what it displaced is told."""

from headrace.config import Overridden, merge_service, parse
from headrace.config.model import Position

MANAGED = {"http_server": "on", "http_port": "2021"}


def test_managed_keys_win_and_the_users_other_keys_stay():
    document = parse("service: {flush: 5, HTTP_Server: off, http_port: 2021}", file="f")
    merged, overridden = merge_service(document, MANAGED)
    assert merged.service is not None
    assert {prop.name: prop.value for prop in merged.service.properties} == {"flush": "5", **MANAGED}
    assert overridden == (Overridden("http_server", "off", "on", Position("f", 1, 21)),)


def test_a_document_without_a_service_gets_one():
    merged, overridden = merge_service(parse("pipeline: {inputs: [{name: a}]}"), MANAGED)
    assert merged.service is not None
    assert merged.service.get("http_port") == "2021"
    assert overridden == ()
    assert merged.inputs[0].name == "a"


def test_a_repeated_key_goes_altogether():
    document = parse("[SERVICE]\n    http_port 1\n    http_port 2\n")
    merged, overridden = merge_service(document, MANAGED)
    assert merged.service is not None
    assert merged.service.all("http_port") == ("2021",)
    assert [each.user_value for each in overridden] == ["1", "2"]


def test_the_original_document_is_untouched():
    document = parse("service: {http_server: off}")
    merge_service(document, MANAGED)
    assert document == parse("service: {http_server: off}")
