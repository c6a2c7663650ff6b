"""The part of the monitoring API that turns traces on and off, as Fluent Bit has it.

    POST /api/v1/trace/INPUT   {"prefix": "tap.", "output": "file", "params": {"file": "tap"}, "limit": {"count": 3}}
    POST /api/v1/traces/       {"inputs": ["a", "b"], …the same}
    DELETE                     on either: off again

GET on an input turns a trace to standard output on, as it does there. `message` says what is wrong with a request.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from agent.engine.pipeline import Pipeline
from agent.engine.plugin import PluginError
from agent.engine.tracing import Request, Tracer

ONE, MANY = "/api/v1/trace/", "/api/v1/traces"

Answer = tuple[int, dict[str, Any]]


async def answer(pipeline: Pipeline, tracer: Tracer, method: str, path: str, body: bytes) -> Answer:
    """Do what is asked; gives the HTTP status and the JSON of the reply."""
    if method not in ("GET", "POST", "DELETE"):
        return 405, {"status": "error", "message": f"{method} is not known here"}
    try:
        asked = _body(body) if method != "GET" else {}
        if path.startswith(ONE):
            return await _switch(pipeline, tracer, method, path.removeprefix(ONE).rstrip("/"), asked)
        if method == "GET":
            return 405, {"status": "error", "message": "name the inputs in a POST"}
        names = asked.get("inputs")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("'inputs' is a list of names")
        results = {name: (await _switch(pipeline, tracer, method, name, asked))[1] for name in names}
        return 200, {"inputs": results}
    except (ValueError, PluginError) as error:
        return 400, {"status": "error", "message": str(error)}


async def _switch(pipeline: Pipeline, tracer: Tracer, method: str, name: str, asked: Mapping[str, Any]) -> Answer:
    if name not in [part.name for part in pipeline.parts.inputs]:
        return 404, {"status": "not found"}
    if method == "DELETE":
        tracer.stop(name)
        return 201, {"status": "ok"}
    await tracer.start(name, _request(asked))
    return 200, {"status": "ok"}


def _body(data: bytes) -> dict[str, Any]:
    asked = orjson.loads(data) if data.strip() else {}
    if not isinstance(asked, dict):
        raise ValueError("expected a JSON object")
    return asked


def _request(asked: Mapping[str, Any]) -> Request:
    """Raises ValueError that says which part of the request makes no sense."""
    prefix, output, params = asked.get("prefix", "trace."), asked.get("output", "stdout"), asked.get("params", {})
    for key, value in (("prefix", prefix), ("output", output)):
        if not isinstance(value, str):
            raise ValueError(f"{key!r} is a text")
    if not isinstance(params, dict) or not all(isinstance(value, str) for value in params.values()):
        raise ValueError("'params' is a map of texts")
    limit = asked.get("limit", {})
    if not isinstance(limit, dict) or len(limit) > 1 or not limit.keys() <= {"count", "seconds"}:
        raise ValueError("'limit' is a map with either 'count' or 'seconds'")
    for key, value in limit.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"limit {key!r} is a whole number from 1 on")
    return Request(prefix=prefix, output=output, params=params, **limit)
