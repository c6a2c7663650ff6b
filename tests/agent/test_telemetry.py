"""What the agent's own log shows, and what it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from agent.telemetry import masked_logs, set_up_logging
from headrace.masking import Mask


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_secret_is_in_no_field_and_no_traceback(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(format)
    log = structlog.get_logger("test")
    with masked_logs(lambda: Mask(["kingfisher"])):
        log.warning("attempt failed", faults=["no kingfisher"], versions={"a": 1}, name="kingfisher")
        try:
            raise ValueError("in the kingfisher's nest")
        except ValueError:
            log.exception("a defect")
    shown = capsys.readouterr().err
    assert "kingfisher" not in shown
    assert "no ***" in shown
    assert "in the ***'s nest" in shown
    if format == "json":
        assert json.loads(shown.splitlines()[0])["versions"] == {"a": 1}
