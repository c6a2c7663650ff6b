"""The logs of the control plane: a defect is told with its place, and without the values that it met."""

from __future__ import annotations

import json

import pytest
import structlog

from controlplane.telemetry import LogFormat, configure_logs


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_names_the_place_and_no_value(form: LogFormat, capfd: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    configure_logs(form)
    try:
        _fail("hunter" + str(2))  # joined, since a traceback shows this line
    except RuntimeError:
        structlog.get_logger().exception("a call failed by a defect")
    finally:
        structlog.configure(**before)
    said = capfd.readouterr().err
    assert "test_telemetry.py" in said
    assert "RuntimeError" in said
    assert "hunter2" not in said
    if form == "json":
        assert json.loads(said)["event"] == "a call failed by a defect"


def _fail(credential: str) -> None:
    raise RuntimeError(f"of {len(credential)} characters")
