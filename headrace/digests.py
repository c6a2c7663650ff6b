"""Digests by which a session resumes without sending lists: of an agent's facts, and of its workloads. Pure.

A digest is 32 hex digits. It covers what the other end would act on; times and words are left out, so that two ends
which agree on the truths agree on the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from headrace.types import Facts, Observed


def facts_digest(facts: Facts) -> str:
    """Over everything that an agent says of itself."""
    return _digest(
        [
            facts.name,
            facts.version,
            facts.os,
            facts.arch,
            sorted(facts.labels.items()),
            sorted(facts.capabilities),
            [[info.engine.value, info.version, info.catalogue_sha256] for info in facts.engines],
            *([facts.clock_ahead_ms] if facts.clock_ahead_ms else []),
        ]
    )


def workloads_digest(workloads: Iterable[Observed]) -> str:
    """Over the set of (pipeline, desired, attempted, result, running, health, good), in any order."""
    return _digest(sorted(_truths(observed) for observed in workloads))


def _truths(observed: Observed) -> list[str | int]:
    attempt, running = observed.attempt, observed.running
    return [
        observed.pipeline,
        observed.desired,
        attempt.generation if attempt else 0,
        attempt.state.value if attempt else "",
        int(attempt.quarantined) if attempt else 0,
        running.generation if running else 0,
        running.sha256 if running else "",
        running.health.value if running else "",
        observed.good,
    ]


def _digest(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
