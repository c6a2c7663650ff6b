"""What the kubernetes filter takes."""

from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, SIZE, STRING, TIME, included, option
from agent.engine.kubernetes import ACCOUNT, KubernetesOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesConfig:
    """Times are seconds, sizes bytes."""

    server: KubernetesOptions = included(KubernetesOptions)
    tls_verify_hostname: bool = option(
        BOOLEAN, False, name="tls.verify_hostname", help="check the server's name in its certificate"
    )
    buffer_size: int = option(SIZE, 32768, help="bytes of the largest answer that is taken; 0 means 100 MB")
    use_kubelet: bool = option(BOOLEAN, False, help="ask the kubelet of this node for pods, not the API server")
    kubelet_host: str = option(STRING, "127.0.0.1", help="the kubelet's name or address")
    kubelet_port: int = option(INTEGER, 10250, help="the kubelet's port")
    kube_namespace_file: str = option(
        STRING, f"{ACCOUNT}/namespace", help="file that is there where the engine runs in a pod"
    )
    dns_retries: int = option(INTEGER, 6, help="in a pod: how often the server's name is looked up at the start")
    dns_wait_time: float = option(TIME, 30, help="in a pod: how long to wait between two of these look-ups")
    kube_meta_preload_cache_dir: str | None = option(
        STRING, help="folder with NAMESPACE_POD.meta and NAMESPACE.namespace_meta, which are taken in place of answers"
    )
    kube_meta_cache_ttl: float = option(TIME, 0, help="how long metadata of a pod is kept; 0 means as long as it fits")
    kube_meta_namespace_cache_ttl: float = option(
        TIME, 900, help="how long metadata of a namespace is kept; 0 means as long as it fits"
    )
    cache_use_docker_id: bool = option(BOOLEAN, False, help="ask again when a container of the same name is a new one")
    kube_tag_prefix: str = option(
        STRING, "kube.var.log.containers.", help="what the tag has before the name of the container's file"
    )
    regex_parser: str | None = option(STRING, help="parser that takes that name apart, in place of the built-in one")
    use_tag_for_meta: bool = option(BOOLEAN, False, help="add what the tag says, and ask nobody")
    labels: bool = option(BOOLEAN, True, help="add the pod's labels")
    annotations: bool = option(BOOLEAN, True, help="add the pod's annotations")
    owner_references: bool = option(BOOLEAN, False, help="add what owns the pod")
    namespace_labels: bool = option(BOOLEAN, False, help="add the namespace's labels")
    namespace_annotations: bool = option(BOOLEAN, False, help="add the namespace's annotations")
    namespace_metadata_only: bool = option(BOOLEAN, False, help="add nothing of the pod")
    merge_log: bool = option(BOOLEAN, False, help="take the text in 'log' apart, and put what is in it beside it")
    merge_log_key: str | None = option(STRING, help="key to put it under")
    merge_log_trim: bool = option(BOOLEAN, True, help="cut line breaks from the end of what was in it")
    merge_parser: str | None = option(STRING, help="parser of the text; it is JSON otherwise")
    keep_log: bool = option(BOOLEAN, True, help="keep 'log' when it was taken apart")
    k8s_logging_parser: bool = option(
        BOOLEAN, False, name="k8s-logging.parser", help="let a pod name its parser: annotation fluentbit.io/parser"
    )
    k8s_logging_exclude: bool = option(
        BOOLEAN, False, name="k8s-logging.exclude", help="let a pod leave its logs out: annotation fluentbit.io/exclude"
    )


REFUSED = (
    "tls.debug",
    "kube_token_command",
    "use_journal",
    "dummy_meta",
    "aws_use_pod_association",
    "use_pod_association",
    "aws_pod_association_host",
    "aws_pod_association_endpoint",
    "aws_pod_association_port",
    "aws_pod_service_map_ttl",
    "aws_pod_service_map_refresh_interval",
    "aws_pod_service_preload_cache_dir",
    "aws_pod_association_host_server_ca_file",
    "aws_pod_association_host_client_cert_file",
    "aws_pod_association_host_client_key_file",
    "aws_pod_association_host_tls_debug",
    "aws_pod_association_host_tls_verify",
    "set_platform",
)
