"""The nginx example, as it is in the repository, on the log of a real nginx and the embedded engine."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.processes import Program
from tests.servers import Nginx

EXAMPLE = Path(__file__).parents[2] / "examples/nginx"


def test_requests_come_out_parsed_and_health_checks_do_not(nginx: Nginx, tmp_path: Path) -> None:
    folder, out = tmp_path / "workload", tmp_path / "out"
    folder.mkdir()
    config = yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text())["spec"]["config"]
    config = config.replace("/var/log/nginx/access.log", str(nginx.access_log)).replace("/tmp/headrace-nginx", str(out))
    (folder / "pipeline.yaml").write_text(config)
    (folder / "parsers.conf").write_text((EXAMPLE / "parsers.conf").read_text())
    with Program([sys.executable, "-P", "-m", "agent.engine", "-c", "pipeline.yaml"], folder=folder) as engine:
        for path in ("/", "/healthz", "/cart?item=7", "/healthz/deep", "/last"):
            urllib.request.urlopen(nginx.url + path, timeout=10).close()
        lines = engine.wait_for(lambda: finished(out / "requests.json"), what="the last request is in the output")
    assert [line["path"] for line in lines] == ["/", "/cart?item=7", "/last"]
    assert {(line["method"], line["status"], line["bytes"]) for line in lines} == {("GET", 200, 3)}


def finished(path: Path) -> list[dict[str, Any]]:
    """Every line, once the last request is among them."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return lines if lines and lines[-1]["path"] == "/last" else []
