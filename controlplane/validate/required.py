"""Properties without which a plugin does not start, which catalogues do not tell: measured on the real engine. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from headrace.config import Section

_ONE_OF_EACH: Mapping[tuple[str, str], tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        ("input", "blob"): (("path",),),
        ("input", "exec"): (("command",),),
        ("input", "head"): (("file",),),
        ("input", "health"): (("host",),),
        ("input", "netif"): (("interface",),),
        ("input", "proc"): (("proc_name",),),
        ("input", "serial"): (("file",), ("bitrate",)),
        ("input", "tail"): (("path",),),
        ("filter", "checklist"): (("file",),),
        ("filter", "geoip2"): (("database",),),
        ("filter", "log_to_metrics"): (("tag",), ("metric_description",)),
        ("filter", "lua"): (("script", "code"), ("call",)),
        ("filter", "multiline"): (("multiline.parser", "multiline.key_content"),),
        ("filter", "nightfall"): (("nightfall_api_key",),),
        ("filter", "parser"): (("key_name",), ("parser",)),
        ("filter", "rewrite_tag"): (("rule",),),
        ("output", "azure"): (("customer_id",), ("shared_key",)),
        ("output", "azure_blob"): (("account_name",), ("container_name",)),
        ("output", "cloudwatch_logs"): (("region",), ("log_group_name",), ("log_stream_name", "log_stream_prefix")),
        ("output", "datadog"): (("apikey",),),
        ("output", "gcs"): (("bucket",),),
        ("output", "kinesis_firehose"): (("region",), ("delivery_stream",)),
        ("output", "kinesis_streams"): (("region",), ("stream",)),
        ("output", "logdna"): (("api_key",),),
        ("output", "nrlogs"): (("api_key", "license_key"),),
        ("output", "s3"): (("bucket",),),
        ("output", "slack"): (("webhook",),),
        ("output", "splunk"): (("splunk_token", "http_user"),),
        ("output", "td"): (("api",), ("database",), ("table",)),
    }
)
"""For each plugin, groups of properties of which one must be there."""


def missing(section: Section) -> Iterator[str]:
    """What a plugin instance lacks, in words that follow its name: `needs 'path'`."""
    kind = "filter" if section.kind == "processor" else section.kind
    given = {prop.name for prop in section.properties}
    if section.kind == "filter" and not given & {"match", "match_regex"}:
        yield "needs 'match' or 'match_regex'; '*' takes everything"
    for names in _ONE_OF_EACH.get((kind, (section.name or "").lower()), ()):
        if not given.intersection(names):
            yield f"needs {' or '.join(map(repr, names))}"
