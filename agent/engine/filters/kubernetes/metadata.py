"""What is added to the records of a container, made of what the API says of its pod; what annotations ask for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.engine.filters.kubernetes.names import Names
from agent.engine.record import Record

if TYPE_CHECKING:
    from agent.engine.filters.kubernetes.config import KubernetesConfig

STREAMS = ("stdout", "stderr")
_PREFIX = "fluentbit.io/"
_TRUE = frozenset({"true", "on", "yes"})


@dataclass(slots=True)
class Wishes:
    """What a pod asks for, by stream, and what of that cannot be followed."""

    parsers: dict[str, str] = field(default_factory=dict)
    excluded: dict[str, bool] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Metadata:
    """Of one container."""

    record: Record
    wishes: Wishes = field(default_factory=Wishes)


def pod_metadata(names: Names, pod: Any, config: KubernetesConfig) -> Metadata:
    """In Fluent Bit's order; of an answer without what is asked for there is what the tag says."""
    about, spec, status = (_map(_map(pod).get(part)) for part in ("metadata", "spec", "status"))
    found: Record = {"pod_name": names.pod, "namespace_name": names.namespace}
    wanted = (
        ("pod_id", about, "uid", True),
        ("labels", about, "labels", config.labels),
        ("annotations", about, "annotations", config.annotations),
        ("ownerReferences", about, "ownerReferences", config.owner_references),
        ("host", spec, "nodeName", True),
        ("pod_ip", status, "podIP", True),
    )
    found |= {key: where[there] for key, where, there, is_wanted in wanted if is_wanted and there in where}
    docker_id, container_hash, image = _container(names.container, status)
    found |= {
        key: value
        for key, value in (
            ("container_name", names.container),
            ("docker_id", names.docker_id or docker_id),
            ("container_hash", names.container_hash or container_hash),
            ("container_image", image),
        )
        if value
    }
    return Metadata(found, read_wishes(_map(about.get("annotations")), names.container, config))


def namespace_metadata(name: str, namespace: Any, config: KubernetesConfig) -> Record:
    """`name`, and the labels and annotations that are asked for."""
    about = _map(_map(namespace).get("metadata"))
    wanted = (("labels", config.namespace_labels), ("annotations", config.namespace_annotations))
    return {"name": name} | {key: about[key] for key, is_wanted in wanted if is_wanted and key in about}


def find_pod(names: Names, pods: Any) -> Any:
    """The pod in a kubelet's list; None when it is not there."""
    items = _map(pods).get("items")
    for pod in items if isinstance(items, list) else ():
        about = _map(_map(pod).get("metadata"))
        if about.get("name") == names.pod and about.get("namespace") == names.namespace:
            return pod
    return None


def read_wishes(annotations: Record, container: str, config: KubernetesConfig) -> Wishes:
    """`fluentbit.io/parser` and `fluentbit.io/exclude`, each with `_stdout` or `_stderr` and `-CONTAINER` after it.

    What is said for a container counts more than what is said for all.
    """
    wishes = Wishes()
    for key, value in sorted(annotations.items(), key=lambda item: "-" in item[0].removeprefix(_PREFIX)):
        if not key.startswith(_PREFIX) or len(key) == len(_PREFIX):
            continue
        wish, dash, who = key.removeprefix(_PREFIX).partition("-")
        what, score, stream = wish.partition("_")
        if what not in ("parser", "exclude") or (dash and not who) or (score and stream not in STREAMS):
            wishes.refused.append(f"annotation {key!r} is not understood")
            continue
        if dash and who != container:
            continue
        if not (config.k8s_logging_parser if what == "parser" else config.k8s_logging_exclude):
            wishes.refused.append(f"annotation {key!r} is not allowed; set k8s-logging.{what}")
            continue
        for one in (stream,) if score else STREAMS:
            if what == "parser" and (dash or one not in wishes.parsers):
                wishes.parsers[one] = str(value)
            elif what == "exclude" and (dash or one not in wishes.excluded):
                wishes.excluded[one] = str(value).lower() in _TRUE
    return wishes


def _container(name: str, status: Record) -> tuple[str, str, str]:
    """Identity, hash of the image, and image of a container."""
    for kind in ("containerStatuses", "initContainerStatuses"):
        containers = status.get(kind)
        for found in containers if isinstance(containers, list) else ():
            if _map(found).get("name") == name:
                return _id(found.get("containerID")), _id(found.get("imageID")), str(found.get("image") or "")
    return "", "", ""


def _id(text: Any) -> str:
    """What is after `docker://`; all of `sha256:…`; nothing where there is no colon."""
    before, colon, after = str(text or "").partition(":")
    if not colon:
        return ""
    return after.lstrip("/") if after.startswith("/") else f"{before}:{after}"


def _map(value: Any) -> Record:
    return value if type(value) is dict else {}
