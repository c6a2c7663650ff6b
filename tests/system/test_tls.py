"""TLS on all three listeners, by certificates that the test makes: who trusts them talks, everybody else is refused."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from headrace.types import Phase
from tests.certificates import key_of, make_certificate
from tests.processes import wait_until
from tests.system.plane import Plane, Service

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

CONFIG = "pipeline: {inputs: [{name: dummy, tag: t}], outputs: [{name: 'null', match: '*'}]}"


class SecurePlane(Plane):
    """A control plane with TLS, whose operator knows its certificate."""

    def __init__(self, folder: Path, certificate: Path, *more: str) -> None:
        super().__init__(folder, "--tls-cert", str(certificate), "--tls-key", str(key_of(certificate)), *more)

    def secure_agent(self, folder: Path, *flags: object, operator: Sequence[object]) -> Service:
        """An agent that is yet to be started with these flags, and a token that the operator made."""
        folder.mkdir()
        token = folder / "token"
        token.write_text(self.cli(*operator, "token", "create").strip())
        where = ["--server", self.channel, "--token-file", str(token), "--data-dir", str(folder / "data")]
        command = ["agent", "run", *where, "--name", folder.name, "--engine", "embedded", *map(str, flags)]
        return Service(command, folder=folder, environment={"HOME": str(folder)})


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path, "server")


def test_an_operator_and_an_agent_who_trust_the_certificate_work_as_ever(tmp_path: Path, certificate: Path) -> None:
    trusting = ("--tls-ca", certificate)
    with SecurePlane(tmp_path / "plane", certificate) as plane:
        assert "Instance" in plane.cli(*trusting, "status")
        agent = plane.secure_agent(tmp_path / "a-1", *trusting, operator=trusting)
        try:
            agent.start()
            agent.program.wait_for(
                lambda: [each["state"] for each in plane.cli.json(*trusting, "get", "agents")] == ["connected"]
            )
            plane.cli(*trusting, "apply", "-f", plane.manifest("edge", CONFIG), "--wait")
            (workload,) = plane.cli.json(*trusting, "describe", "pipeline", "edge")["workloads"]
            assert workload["phase"] in (Phase.RUNNING, Phase.GOOD)
            plane.cli(*trusting, "delete", "pipeline", "edge", "--wait")
        finally:
            agent.close()


def test_plain_text_and_another_certificate_are_refused_at_every_door(tmp_path: Path, certificate: Path) -> None:
    other = make_certificate(tmp_path, "other")
    with SecurePlane(tmp_path / "plane", certificate) as plane:
        for flags, why in (((), "it may want TLS"), (("--tls-ca", other), "certificate is not by an authority")):
            said = plane.cli(*flags, "status", exits=4)
            assert said.startswith("error: cannot reach the control plane")
            assert why in said
        http = json.loads((plane.folder / "data/ready.json").read_text())["http"]
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(f"http://{http}/healthz", timeout=10).close()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            _get(f"https://{http}/healthz", trusted=other)
        assert _get(f"https://{http}/healthz", trusted=certificate) == "ok\n"
        stranger = plane.secure_agent(tmp_path / "stranger", "--tls-ca", other, operator=("--tls-ca", certificate))
        try:
            stranger.start()
            stranger.program.wait_for(lambda: "enrolment failed" in stranger.program.output)
        finally:
            stranger.close()
        assert plane.cli.json("--tls-ca", certificate, "get", "agents") == []


def test_where_client_certificates_are_demanded_nobody_gets_in_without_one(tmp_path: Path, certificate: Path) -> None:
    trusting = ("--tls-ca", certificate)
    known = make_certificate(tmp_path, "client")
    operator = (*trusting, "--tls-client-cert", known, "--tls-client-key", key_of(known))
    agent_flags = (*trusting, "--tls-cert", known, "--tls-key", key_of(known))
    with SecurePlane(tmp_path / "plane", certificate, "--tls-client-ca", str(known)) as plane:
        assert "a client certificate" in plane.cli(*trusting, "status", exits=4)
        assert "Instance" in plane.cli(*operator, "status")
        assert "--tls-client-key" in plane.cli(*trusting, "--tls-client-cert", known, "status", exits=2)
        agent = plane.secure_agent(tmp_path / "a-1", *agent_flags, operator=operator)
        try:
            agent.start()
            wait_until(lambda: [each["state"] for each in plane.cli.json(*operator, "get", "agents")] == ["connected"])
        finally:
            agent.close()


def test_an_agent_gets_in_by_the_certificate_that_it_got_and_again_after_a_restart(
    tmp_path: Path, certificate: Path
) -> None:
    trusting = ("--tls-ca", certificate)
    with SecurePlane(tmp_path / "plane", certificate, "--channel-mtls", "127.0.0.1:0") as plane:

        def shown() -> list[tuple[str, str]]:
            return [(each["state"], each["shown"]) for each in plane.cli.json(*trusting, "get", "agents")]

        agent = plane.secure_agent(tmp_path / "a-1", *trusting, operator=trusting)
        try:
            agent.start()
            agent.program.wait_for(lambda: shown() == [("connected", "certificate")])
            (described,) = plane.cli.json(*trusting, "get", "agents")
            assert described["certificate"]
            assert "Shown by:" in plane.cli(*trusting, "describe", "agent", "a-1")
            for private in (tmp_path / "a-1/data/agent.key", plane.folder / "data/ca.key"):
                assert private.stat().st_mode & 0o777 == 0o600
            agent.stop()
            agent.start()
            agent.program.wait_for(lambda: shown() == [("connected", "certificate")])
            assert len(plane.cli.json(*trusting, "get", "agents", "--all")) == 1

            # Another authority signs: the agent has a certificate by it without a restart.
            plane.cli(*trusting, "ca", "rotate")
            agent.program.wait_for(lambda: "certificate renewed" in agent.program.output)
            (after,) = plane.cli.json(*trusting, "get", "agents")
            assert (after["id"], after["shown"]) == (described["id"], "certificate")
            assert after["certificate"] != described["certificate"]
            authority, *_ = plane.cli.json(*trusting, "ca", "show")
            assert (authority["signs"], authority["connected"]) == (True, 1)
        finally:
            agent.close()


@pytest.mark.soak
def test_a_certificate_is_renewed_again_and_again_and_no_pipeline_is_interrupted(
    tmp_path: Path, certificate: Path
) -> None:
    trusting = ("--tls-ca", certificate)
    more = ("--channel-mtls", "127.0.0.1:0", "--certificate-lifetime", "6")
    with SecurePlane(tmp_path / "plane", certificate, *more) as plane:
        agent = plane.secure_agent(tmp_path / "a-1", *trusting, operator=trusting)

        def shown() -> dict[str, str]:
            (found,) = plane.cli.json(*trusting, "get", "agents", "--all")
            return {name: found[name] for name in ("id", "state", "shown", "certificate")}

        def child() -> object:
            (record,) = (tmp_path / "a-1/data/records").glob("*.json")
            return json.loads(record.read_text())["value"]["run"]["child"]

        try:
            agent.start()
            agent.program.wait_for(lambda: plane.cli.json(*trusting, "get", "agents") != [])
            plane.cli(*trusting, "apply", "-f", plane.manifest("edge", CONFIG), "--wait")
            before, engine, serials = shown(), child(), set[str]()

            def renewed() -> bool:
                serials.add(shown()["certificate"])
                return len(serials) >= 4

            agent.program.wait_for(renewed, timeout=60)
            after = shown()
            assert after["id"] == before["id"]
            assert (after["state"], after["shown"]) == ("connected", "certificate")
            assert child() == engine
            kinds = plane.cli(*trusting, "events")
            assert "agent.renewed" in kinds
            assert "agent.lost" not in kinds
            assert "agent.duplicate_identity" not in kinds
        finally:
            agent.close()


def _get(url: str, *, trusted: Path) -> str:
    with urllib.request.urlopen(url, timeout=10, context=ssl.create_default_context(cafile=trusted)) as answer:
        text: str = answer.read().decode()
        return text
