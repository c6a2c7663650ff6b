"""What Kubernetes knows of a pod, in the pod's records: rules by table, a fake API server, a real Fluent Bit beside."""

from __future__ import annotations

import asyncio
import json
import ssl
import textwrap
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.filters.kubernetes import Kubernetes, source
from agent.engine.filters.kubernetes.config import KubernetesConfig
from agent.engine.filters.kubernetes.merging import merged
from agent.engine.filters.kubernetes.metadata import read_wishes
from agent.engine.filters.kubernetes.names import Names, read_names
from agent.engine.filters.kubernetes.source import Source
from agent.engine.kubernetes import KubernetesOptions, Token, split_url
from agent.engine.logs import PluginLog
from agent.engine.plugin import PluginError
from agent.engine.record import Batch
from agent.engine.registry import filters
from tests.agent.engine.conftest import Emitted, EngineKit, PluginKit
from tests.agent.engine.kubernetes_api import CONTAINER_ID, FakeKubernetes, file_name, pod
from tests.certificates import key_of, make_certificate
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit
from tests.processes import eventually

PREFIX = "kube.var.log.containers."
LOG = PluginLog("filter", "kubernetes", "kubernetes.0")


@pytest.fixture
async def api() -> AsyncIterator[FakeKubernetes]:
    async with FakeKubernetes().listening() as listening:
        yield listening


@pytest.mark.parametrize(
    ("tag", "names"),
    [
        (PREFIX + file_name("web-1"), Names("web-1", "shop", "main", CONTAINER_ID)),
        (PREFIX + file_name("a.b-c", "n-1", "x_y"), Names("a.b-c", "n-1", "x_y", CONTAINER_ID)),
        ("some.var.log.containers." + file_name("web-1"), Names("web-1", "shop", "main", CONTAINER_ID)),
        (PREFIX + "web-1_shop_main-short.log", None),
        (PREFIX + "web-1.log", None),
        ("kube.x", None),
        ("", None),
    ],
    ids=["as usual", "dots and underscores", "another prefix as long", "short id", "no parts", "short", "empty"],
)
def test_the_tag_says_of_which_container_a_record_is(tag: str, names: Names | None) -> None:
    assert read_names(tag, PREFIX) == names


BOTH = {"stdout": "p", "stderr": "p"}


@pytest.mark.parametrize(
    ("annotations", "parsers"),
    [
        ({"parser": "p"}, BOTH),
        ({"parser_stderr": "p"}, {"stderr": "p"}),
        ({"parser-main": "p", "parser": "q"}, BOTH),
        ({"parser": "q", "parser-main": "p"}, BOTH),
        ({"parser_stdout-main": "p", "parser": "q"}, {"stdout": "p", "stderr": "q"}),
        ({"parser-other": "p"}, {}),
    ],
    ids=["all", "one stream", "container first", "container last", "container and stream", "another container"],
)
def test_annotations_name_a_parser_by_stream_and_container(annotations: dict[str, str], parsers: Any) -> None:
    given = {f"fluentbit.io/{key}": value for key, value in annotations.items()}
    wishes = read_wishes(given, "main", KubernetesConfig(k8s_logging_parser=True))
    assert (wishes.parsers, wishes.refused) == (parsers, [])


def test_annotations_that_are_not_allowed_or_not_understood_are_told() -> None:
    given = {"fluentbit.io/exclude": "true", "fluentbit.io/parser_both": "x", "fluentbit.io/what": "y", "other": "z"}
    wishes = read_wishes(given, "main", KubernetesConfig())
    assert wishes.excluded == {}
    assert sorted(wishes.refused) == [
        "annotation 'fluentbit.io/exclude' is not allowed; set k8s-logging.exclude",
        "annotation 'fluentbit.io/parser_both' is not understood",
        "annotation 'fluentbit.io/what' is not understood",
    ]


def test_a_log_that_cannot_be_taken_apart_is_never_dropped() -> None:
    config = KubernetesConfig(keep_log=False)
    for record in ({"log": 7}, {"log": "text"}, {"log": '{"a":1}{"b":2}'}, {"other": 1}):
        assert merged(dict(record), config, None) == (None, record)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://kubernetes.default.svc", ("https", "kubernetes.default.svc", 443)),
        ("https://kubernetes.default.svc:443/", ("https", "kubernetes.default.svc", 443)),
        ("HTTP://127.0.0.1:8001", ("http", "127.0.0.1", 8001)),
        ("http://[::1]:8001", ("http", "::1", 8001)),
    ],
)
def test_an_url_has_a_scheme_a_host_and_a_port(url: str, parts: tuple[str, str, int]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize("url", ["kubernetes.default.svc", "ftp://a", "https://", "https://a:b", "https://a/api"])
def test_what_is_no_such_url_is_refused(url: str, plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty, match="is not http://host:port or https://host:port"):
        plugins.make(filters, "kubernetes", kube_url=url)


def test_the_token_is_read_again_when_its_time_is_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now, path = [0.0], tmp_path / "token"
    token = Token(str(path), 60, LOG, clock=lambda: now[0])
    assert token.headers() == []
    assert f"no token can be read from {path}" in caplog.text
    path.write_text("secret\n")
    now[0] = 61.0
    assert token.headers() == [("Authorization", "Bearer secret")]
    path.write_text("new")
    assert token.headers() == [("Authorization", "Bearer secret")]
    now[0] = 122.0
    assert token.headers() == [("Authorization", "Bearer new")]
    path.write_text("two\r\nlines")
    now[0] = 183.0
    assert token.headers() == []


async def passed(plugin: Any, *logs: str, name: str = "web-1") -> list[Any]:
    """What the filter makes of records of a pod, after the wait that it asks for."""
    records: list[Any] = [{"log": log} for log in logs]
    batch = Batch(PREFIX + file_name(name), list(range(len(records))), records)
    if (wait := plugin.prepare(batch)) is not None:
        await wait
    return list(plugin.process(batch, Emitted()).records)


EXPECTED = {
    "pod_name": "web-1",
    "namespace_name": "shop",
    "pod_id": "uid of web-1",
    "labels": {"app": "web-1"},
    "host": "node-1",
    "pod_ip": "10.1.2.3",
    "container_name": "main",
    "docker_id": CONTAINER_ID,
    "container_hash": "docker.io/nginx@sha256:7",
    "container_image": "nginx:1",
}


async def test_the_server_is_asked_once_and_each_record_has_its_own_copy(
    plugins: PluginKit, api: FakeKubernetes, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("secret")
    api.answers["/api/v1/namespaces/shop/pods/web-1"] = pod("web-1")
    api.answers["/api/v1/namespaces/shop"] = {"metadata": {"labels": {"team": "a"}, "annotations": {"b": "c"}}}
    plugin = plugins.make(
        filters, "kubernetes", kube_url=api.url, kube_token_file=str(tmp_path / "token"), namespace_labels=True
    )
    await plugin.open()
    first, second = await passed(plugin, "a", "b")
    assert first == {
        "log": "a",
        "kubernetes": EXPECTED,
        "kubernetes_namespace": {"name": "shop", "labels": {"team": "a"}},
    }
    first["kubernetes"]["labels"].clear()
    assert second["kubernetes"]["labels"] == {"app": "web-1"}
    batch = Batch(PREFIX + file_name("web-1"), [1], [{}])
    assert plugin.prepare(batch) is None
    assert (await passed(plugin, "c"))[0]["kubernetes"] == EXPECTED
    assert api.paths == ["/api/v1/namespaces/shop/pods/web-1", "/api/v1/namespaces/shop"]
    assert set(api.tokens) == {"Bearer secret"}
    await plugin.close()


async def test_a_kubelet_is_asked_for_all_its_pods(plugins: PluginKit, api: FakeKubernetes, tmp_path: Path) -> None:
    api.answers["/pods"] = {"items": [pod("web-12"), pod("web-1", "other"), pod("web-1")]}
    properties: Any = {"use_kubelet": True, "kubelet_port": api.port, "kube_meta_preload_cache_dir": str(tmp_path)}
    plugin = plugins.make(filters, "kubernetes", **properties)
    await plugin.open()
    assert (await passed(plugin, "a"))[0]["kubernetes"] == EXPECTED
    (gone,) = await passed(plugin, "a", name="gone")
    assert gone["kubernetes"] == Names("gone", "shop", "main", CONTAINER_ID).record()
    assert api.paths == ["/pods", "/pods"]
    await plugin.close()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make_source(api: FakeKubernetes, clock: Clock, **options: Any) -> Source:
    server = KubernetesOptions(kube_url=api.url, kube_token_file="/none")
    found = Source(KubernetesConfig(server=server, **options), LOG, clock)
    found.open()
    return found


WEB = Names("web-1", "shop", "main", CONTAINER_ID)


async def test_metadata_is_asked_for_again_when_its_time_is_over(api: FakeKubernetes) -> None:
    api.answers["/api/v1/namespaces/shop/pods/web-1"] = pod("web-1")
    clock = Clock()
    kept, lasting = make_source(api, clock, kube_meta_cache_ttl=60), make_source(api, clock)
    for one in (kept, lasting):
        assert one.lacks(WEB)
        await one.fetch(WEB)
    clock.now += 59
    assert not kept.lacks(WEB)
    clock.now += 2
    assert (kept.lacks(WEB), lasting.lacks(WEB)) == (True, False)
    assert kept.pod(WEB) is not None, "what was there when it was asked for is there when it is used"


async def test_a_container_of_the_same_name_with_another_id_is_another_one_if_wanted(api: FakeKubernetes) -> None:
    api.answers["/api/v1/namespaces/shop/pods/web-1"] = pod("web-1")
    again = Names("web-1", "shop", "main", "f" * 64)
    for by_id in (False, True):
        one = make_source(api, Clock(), cache_use_docker_id=by_id)
        await one.fetch(WEB)
        assert one.lacks(again) is by_id


async def test_what_the_server_does_not_know_is_not_asked_for_again_for_a_while(
    api: FakeKubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    one = make_source(api, clock)
    await one.fetch(WEB)
    assert (one.pod(WEB), one.lacks(WEB)) == (None, False)
    assert f"no metadata of pod shop/web-1 from 127.0.0.1:{api.port}: HTTP status=404" in caplog.text
    clock.now += source.PATIENCE
    assert one.lacks(WEB)
    api.answers["/api/v1/namespaces/shop/pods/web-1"] = pod("web-1")
    await one.fetch(WEB)
    assert one.pod(WEB) is not None


async def test_a_server_that_does_not_answer_is_waited_for_once_not_for_each_pod(
    api: FakeKubernetes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source, "DEADLINE", 0.05)
    api.hold.clear()
    clock = Clock()
    one = make_source(api, clock)
    for number in range(50):
        await one.fetch(Names(f"web-{number}", "shop", "main"))
    assert api.paths == ["/api/v1/namespaces/shop/pods/web-0"]
    (said,) = {record.getMessage() for record in caplog.records if "no metadata" in record.msg}
    assert "pod shop/web-0" in said
    assert said.endswith("TimeoutError; records pass without it for 10 seconds")


async def test_an_answer_that_is_too_large_is_told(api: FakeKubernetes, caplog: pytest.LogCaptureFixture) -> None:
    api.answers["/api/v1/namespaces/shop/pods/web-1"] = pod("web-1", long="x" * 1000)
    one = make_source(api, Clock(), buffer_size=500)
    await one.fetch(WEB)
    assert one.pod(WEB) is None
    assert "the answer is no JSON, or larger than buffer_size" in caplog.text


async def test_over_tls_the_server_must_be_trusted_and_its_name_too_if_wanted(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "server", names="DNS:localhost")
    key = key_of(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusting = {"kube_ca_file": str(certificate)}
    async with FakeKubernetes().listening(context) as api:
        api.answers["/api/v1/namespaces/shop/pods/web-1"] = pod("web-1")
        for server, hostname, is_found in (
            ({}, False, False),
            ({"tls_verify": False}, False, True),
            (trusting, False, True),
            (trusting, True, False),
            (trusting | {"tls_vhost": "localhost"}, True, True),
        ):
            url = f"https://127.0.0.1:{api.port}"
            options: Any = KubernetesOptions(kube_url=url, kube_token_file="/none", **server)
            one = Source(KubernetesConfig(server=options, tls_verify_hostname=hostname), LOG, Clock())
            one.open()
            await one.fetch(WEB)
            assert (one.pod(WEB) is not None) is is_found, (server, hostname)


async def test_in_a_pod_names_are_looked_up_until_they_are_found(
    api: FakeKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "namespace").write_text("here")
    looked: list[str] = []

    async def look_up(host: str, port: None) -> list[Any]:
        looked.append(host)
        if len(looked) < 3:
            raise OSError("not known")
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up, raising=False)
    options: Any = {"kube_namespace_file": str(tmp_path / "namespace"), "dns_wait_time": 0}
    one = make_source(api, Clock(), **options)
    await one._wait_for_dns()
    await one._wait_for_dns()
    assert looked == ["127.0.0.1"] * 3


async def test_what_cannot_work_is_refused(plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty, match="goes with neither namespace_labels"):
        plugins.make(filters, "kubernetes", use_tag_for_meta=True, namespace_labels=True)
    context = replace(plugins.context("processor"), may_emit=False)
    with pytest.raises(InvalidProperty, match="a processor cannot wait for metadata"):
        Kubernetes(KubernetesConfig(), context)
    assert Kubernetes(KubernetesConfig(use_tag_for_meta=True), context).prepare(Batch(PREFIX + file_name("a"))) is None
    with pytest.raises(PluginError, match="TLS files cannot be used"):
        await plugins.make(filters, "kubernetes", kube_ca_file="/none/ca.crt").open()


async def test_records_wait_for_metadata_and_pass_without_what_cannot_be_had(
    kit: EngineKit, api: FakeKubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    api.answers["/api/v1/namespaces/shop/pods/web-1"] = pod("web-1")
    api.hold.clear()
    for name in ("web-1", "gone-1"):
        kit.write(file_name(name), f"from {name}\n")
    text = pipeline(kit.folder, api.port)
    async with kit.run(text):
        await eventually(lambda: api.asked)
        assert kit.lines("out") == []
        api.hold.set()
        lines = await kit.has_lines("out", 2)
    found = {record["log"]: record.get("kubernetes") for record in map(json.loads, lines)}
    assert found == {"from web-1": EXPECTED, "from gone-1": None}
    assert "1 records passed without all of their metadata" in caplog.text


@needs_fluent_bit
async def test_a_real_fluent_bit_makes_the_same_of_the_same_answers(kit: EngineKit, api: FakeKubernetes) -> None:
    api.answers["/api/v1/namespaces/shop/pods/web-1"] = pod("web-1", note="x")
    kit.write("token", "secret")
    kit.write(file_name("web-1"), '{"a":1}\n')
    kit.write(file_name("gone-1"), "text\n")
    text = pipeline(kit.folder, api.port, "merge_log: on, keep_log: off")
    async with kit.run(text):
        own = sorted(await kit.has_lines("out", 2))
    (kit.folder / "out").unlink()
    with kit.child(text, program=[FLUENT_BIT]):
        real = sorted(await kit.has_lines("out", 2))
    assert list(map(json.loads, own)) == list(map(json.loads, real))


def pipeline(folder: Path, port: int, more: str = "labels: on") -> str:
    return textwrap.dedent(f"""
        service: {{flush: 0.05, grace: 1}}
        pipeline:
          inputs:
            - {{name: tail, path: '{folder}/*-1_*.log', tag: 'kube.*', read_from_head: on}}
          filters:
            - name: kubernetes
              match: 'kube.*'
              kube_url: http://127.0.0.1:{port}
              kube_token_file: {folder}/token
              kube_tag_prefix: kube.{str(folder).strip("/").replace("/", ".")}.
              {more.replace(", ", chr(10) + " " * 14)}
          outputs:
            - {{name: file, match: '*', path: {folder}, file: out, format: plain}}
        """)
