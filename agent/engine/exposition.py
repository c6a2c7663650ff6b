"""The engine's numbers in the shapes of Fluent Bit's monitoring API (pure reading of the running parts)."""

import socket
import time
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from agent.engine.metrics import Sample
from agent.engine.points import point
from agent.engine.prometheus import as_text
from agent.engine.version import FOLLOWS

if TYPE_CHECKING:
    from agent.engine.engine import Engine

_HELP = {
    "proc_records": "Number of processed output records.",
    "proc_bytes": "Number of processed output bytes.",
    "retries_failed": "Number of chunks given up after retries.",
}


def as_json(engine: "Engine") -> dict[str, dict[str, dict[str, int]]]:
    """`/api/v1/metrics`: counters by kind and instance."""
    shown: dict[str, dict[str, dict[str, int]]] = {"input": {}, "filter": {}, "output": {}}
    for kind, name, counters in _instances(engine):
        shown[kind][name] = counters
    return shown


def as_prometheus_v1(engine: "Engine") -> str:
    """`/api/v1/metrics/prometheus`: the counters with a time stamp in milliseconds."""
    now = time.time_ns()
    return as_text(((now, point(sample, "")) for sample in _counters(engine)), with_times=True)


def as_prometheus(engine: "Engine") -> str:
    """`/api/v2/metrics/prometheus`: counters, storage, log lines, the engine itself, and whose counters these are."""
    text = "Names the counters for as long as nothing of them is lost."
    mine: list[Sample] = [("headrace_engine_counters", "gauge", text, {"id": engine.counters.id}, 1)]
    if engine.pipeline is not None and (unaccounted := engine.pipeline.unaccounted) is not None:
        text = "Log records that came in and are nowhere: not delivered, dropped, filtered out or waiting."
        mine.append(("headrace_engine_unaccounted_records", "gauge", text, {}, unaccounted))
    return as_text((0, point(sample, "")) for sample in [*samples(engine), *mine])


def samples(engine: "Engine") -> list[Sample]:
    """All of the engine's numbers."""
    return [*_counters(engine), *_flow_samples(engine), *_storage_samples(engine), *_engine_samples(engine)]


def storage(engine: "Engine") -> dict[str, Any]:
    """`/api/v1/storage`: where chunks are."""
    buffers = engine.pipeline.buffers if engine.pipeline else []
    chunks = [chunk for buffer in buffers for chunk in buffer.chunks]
    on_disk = [chunk for chunk in chunks if chunk.file is not None]
    return {
        "storage_layer": {
            "chunks": {
                "total_chunks": len(chunks),
                "mem_chunks": len(chunks) - len(on_disk),
                "fs_chunks": len(on_disk),
                "fs_chunks_up": sum(chunk.in_memory for chunk in on_disk),
                "fs_chunks_down": sum(not chunk.in_memory for chunk in on_disk),
            }
        },
        "input_chunks": {
            buffer.source: {
                "status": {
                    "overlimit": buffer.paused,
                    "mem_size": _human(buffer.memory),
                    "mem_limit": _human(buffer.limit),
                },
                "chunks": {
                    "total": len(buffer.chunks),
                    "up": sum(chunk.in_memory for chunk in buffer.chunks),
                    "down": sum(not chunk.in_memory for chunk in buffer.chunks),
                    "busy": len(buffer.sent),
                    "busy_size": _human(sum(chunk.size for chunk in buffer.sent)),
                },
            }
            for buffer in buffers
        },
    }


def _instances(engine: "Engine") -> Iterator[tuple[str, str, dict[str, int]]]:
    if engine.pipeline is None:
        return
    parts = engine.pipeline.parts
    kinds: tuple[tuple[str, Any], ...] = (("input", parts.inputs), ("filter", parts.filters), ("output", parts.outputs))
    for kind, of_kind in kinds:
        for part in of_kind:
            yield kind, part.name, {spec.name: getattr(part.metrics, spec.name) for spec in fields(part.metrics)}


def _counters(engine: "Engine") -> Iterator[Sample]:
    for kind, name, counters in _instances(engine):
        for counter, value in counters.items():
            text = _HELP.get(counter, f"Number of {kind} {counter.replace('_', ' ')}.")
            yield f"fluentbit_{kind}_{counter}_total", "counter", text, {"name": name}, value


def _storage_samples(engine: "Engine") -> Iterator[Sample]:
    buffers = engine.pipeline.buffers if engine.pipeline else []
    layer = storage(engine)["storage_layer"]["chunks"]
    for key in ("mem_chunks", "fs_chunks", "fs_chunks_up", "fs_chunks_down"):
        yield f"fluentbit_storage_{key}", "gauge", f"Number of {key.replace('_', ' ')}.", {}, layer[key]
    yield "fluentbit_storage_chunks", "gauge", "Number of chunks.", {}, layer["total_chunks"]
    for buffer in buffers:
        label = {"name": buffer.source}
        yield "fluentbit_input_ingestion_paused", "gauge", "Is the input paused?", label, buffer.paused
        yield "fluentbit_input_storage_overlimit", "gauge", "Is the input over its memory limit?", label, buffer.paused
        yield "fluentbit_input_storage_memory_bytes", "gauge", "Memory of the input's chunks.", label, buffer.memory
        yield "fluentbit_input_storage_chunks", "gauge", "Number of the input's chunks.", label, len(buffer.chunks)
        up = sum(chunk.in_memory for chunk in buffer.chunks)
        yield "fluentbit_input_storage_chunks_up", "gauge", "Chunks in memory.", label, up
        yield "fluentbit_input_storage_chunks_down", "gauge", "Chunks on disk only.", label, len(buffer.chunks) - up
        yield "fluentbit_input_storage_chunks_busy", "gauge", "Chunks that outputs have.", label, len(buffer.sent)
        busy = sum(chunk.size for chunk in buffer.sent)
        yield "fluentbit_input_storage_chunks_busy_bytes", "gauge", "Bytes in chunks that outputs have.", label, busy


def _flow_samples(engine: "Engine") -> Iterator[Sample]:
    for part in engine.pipeline.parts.outputs if engine.pipeline else ():
        for source, flow in part.delivery.flows.items() if part.delivery else ():
            label = {"input": source, "output": part.name}
            if flow.records:
                text = "Records that were delivered."
                yield "fluentbit_routing_logs_records_total", "counter", text, label, flow.records
                yield "fluentbit_routing_logs_bytes_total", "counter", "Bytes that were delivered.", label, flow.bytes
            name, text = "fluentbit_output_latency_seconds", "Seconds from a chunk's first record to its delivery."
            yield name, "histogram", text, label, flow.latency


def _engine_samples(engine: "Engine") -> Iterator[Sample]:
    host = {"hostname": socket.gethostname()}
    uptime = int(time.monotonic() - engine.started)
    yield "fluentbit_uptime", "counter", "Seconds since the start.", host, uptime
    started = int(time.time()) - uptime
    yield "fluentbit_process_start_time_seconds", "gauge", "Start of the process since the epoch.", host, started
    yield "fluentbit_hot_reloaded_times", "gauge", "Number of successful reloads.", host, engine.reloads.count
    build = {**host, "version": FOLLOWS, "os": "linux"}
    yield "fluentbit_build_info", "gauge", "The engine's version.", build, started
    for level in ("error", "warn", "info", "debug", "trace"):
        count = engine.log_counter.counts[level]
        yield "fluentbit_logger_logs_total", "counter", "Number of log lines.", {"message_type": level}, count
    lines = engine.log_counter.counts.total()
    for key, value in (("enqueued", lines), ("drained", lines), ("dropped", 0)):  # written at once, never queued
        yield f"fluentbit_logger_queue_{key}_total", "counter", f"Number of log lines {key}.", {}, value


def _human(size: int) -> str:
    for unit, factor in (("G", 1_000_000_000), ("M", 1_000_000), ("K", 1_000)):
        if size >= factor:
            return f"{size / factor:.1f}{unit}"
    return f"{size}b"
