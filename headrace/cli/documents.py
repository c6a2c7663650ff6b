"""What `-o json` and `-o yaml` print of each thing: the fields of the API, flat where people would look for them. Pure.

These shapes are a contract with scripts: fields are added, never renamed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.api import Agent, Manifest, Pipeline, Revision, Workload


def pipeline_document(pipeline: Pipeline) -> dict[str, Any]:
    """Without configuration, files and workloads, which `describe` adds."""
    manifest = pipeline.manifest
    return {
        "name": manifest.name,
        "labels": dict(manifest.labels),
        "description": manifest.description,
        "selector": manifest.selector,
        "engine": manifest.engine,
        "revision": pipeline.revision,
        "generation": pipeline.generation,
        "sha256": pipeline.sha256,
        "created_at": pipeline.created_at,
        "updated_at": pipeline.updated_at,
        "agents": sum(pipeline.phases.values()),
        "phases": dict(pipeline.phases),
    }


def pipeline_details(pipeline: Pipeline) -> dict[str, Any]:
    """Everything about one pipeline."""
    return {
        **pipeline_document(pipeline),
        **content_document(pipeline.manifest),
        "workloads": [workload_document(workload) for workload in pipeline.workloads],
    }


def content_document(manifest: Manifest) -> dict[str, Any]:
    """Configuration, files and secrets of a manifest."""
    return {
        "config": manifest.config,
        "files": [
            {
                "name": file.name,
                "size": len(file.content),
                "sha256": hashlib.sha256(file.content).hexdigest(),
                "content": file.content,
            }
            for file in manifest.files
        ],
        "secrets": list(manifest.secrets),
    }


def workload_document(workload: Workload) -> dict[str, Any]:
    """One pipeline on one agent: `generation` is what it should run, the rest is what the agent says."""
    observed = workload.observed
    return {
        "pipeline": workload.pipeline,
        "agent_id": workload.agent_id,
        "agent_name": workload.agent_name,
        "agent_state": workload.agent_state,
        "phase": workload.phase,
        "generation": workload.generation,
        "desired": observed.desired if observed else 0,
        "attempt": observed.attempt if observed else None,
        "running": observed.running if observed else None,
        "good": observed.good if observed else 0,
        "notes": observed.notes if observed else (),
        "changed_at": workload.changed_at,
    }


def agent_document(agent: Agent) -> dict[str, Any]:
    """An agent with its effective labels, and without workloads; `claimed_labels` are what it says itself."""
    return {
        "id": agent.id,
        "name": agent.facts.name,
        "labels": dict(agent.labels),
        "state": agent.state,
        "engines": agent.facts.engines,
        "last_seen": agent.last_seen,
        "connected_at": agent.connected_at,
        "enrolled_at": agent.enrolled_at,
        "version": agent.facts.version,
        "os": agent.facts.os,
        "arch": agent.facts.arch,
        "claimed_labels": dict(agent.facts.labels),
        "capabilities": agent.facts.capabilities,
        "replica": agent.replica,
        "token_id": agent.token_id,
        "shown": agent.shown,
        "certificate": agent.certificate,
    }


def agent_details(agent: Agent) -> dict[str, Any]:
    """Everything about one agent."""
    return {**agent_document(agent), "workloads": [workload_document(workload) for workload in agent.workloads]}


def revision_document(revision: Revision) -> dict[str, Any]:
    """A revision without its manifest, which `describe pipeline --revision` shows."""
    return {
        "pipeline": revision.pipeline,
        "number": revision.number,
        "generation": revision.generation,
        "sha256": revision.sha256,
        "action": revision.action,
        "author": revision.author,
        "author_known_by": revision.author_known_by,
        "reason": revision.reason,
        "at": revision.at,
    }
