"""A whole fleet renews at once while the control plane is killed and the network flaps: none lost, none doubled."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509

from headrace import api
from headrace.management import ManagementClient
from headrace.types import AgentState
from tests.processes import wait_until
from tests.system.line import Line
from tests.system.plane import Plane
from tests.system.swarm import Swarm

pytestmark = [pytest.mark.system, pytest.mark.soak, pytest.mark.timeout(1800)]

T = TypeVar("T")
AGENTS = 500
CONFIG = "pipeline: {inputs: [{name: dummy, tag: t}], outputs: [{name: 'null', match: '*'}]}"


def test_500_agents_renew_at_once_while_the_plane_is_killed_and_the_line_is_cut(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    started = time.monotonic()

    def say(what: str, **figures: object) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {what}", figures or "", flush=True)

    with Plane(tmp_path / "plane") as plane, Line(plane.channel) as line:
        made = plane.ask(lambda client: client.create_token(ttl_seconds=3600, max_uses=AGENTS))

        with Swarm(line.address, tmp_path / "swarm", token=made.secret, count=AGENTS) as swarm:

            def ask(question: Callable[[ManagementClient], Awaitable[T]]) -> T:
                return swarm.run(plane.asked(question))

            def states() -> Counter[AgentState]:
                agents = plane.answered(lambda: ask(lambda client: client.list_agents(all=True)))
                return Counter(agent.state for agent in agents or ())

            wait_until(lambda: states() == {AgentState.CONNECTED: AGENTS}, timeout=300, what="all are connected")
            plane.apply("edge", CONFIG)
            wait_until(lambda: all("edge" in agent.contents for agent in swarm.agents), timeout=120)
            say("all are connected and have the pipeline")
            before = {agent.facts.name: agent.id for agent in ask(lambda client: client.list_agents())}

            for turn in range(3):
                certificates = swarm.certificates()
                ask(lambda client: client.rotate_authority())
                begun, cuts = time.monotonic(), 0
                for step in range(4):
                    # In the middle of it, each time another way.
                    share = AGENTS * (step + 1) // 6
                    wait_until(lambda: swarm.renewed(certificates) >= share, timeout=300)  # noqa: B023
                    if step == 1:
                        plane.kill()
                        plane.start()
                    else:
                        line.sever()
                        wait_until(lambda: not any(agent.state.connected for agent in swarm.agents), timeout=60)
                        line.mend()
                        cuts += 1
                wait_until(lambda: swarm.renewed(certificates) == AGENTS, timeout=600, what="all have renewed")  # noqa: B023
                wait_until(lambda: states() == {AgentState.CONNECTED: AGENTS}, timeout=300, what="all are back")
                wait_until(
                    lambda: len(ask(lambda client: client.list_authorities())) == 1,
                    timeout=60,
                    what="the older authority ended",
                )
                say(f"turn {turn}", took=f"{time.monotonic() - begun:.1f} s", kills=1, cuts=cuts)

            agents = ask(lambda client: client.list_agents(all=True))
            assert {agent.facts.name: agent.id for agent in agents} == before  # none lost, none doubled
            assert [agent.ids for agent in swarm.agents] == [{before[agent.folder.name]} for agent in swarm.agents]
            serials = {agent.facts.name: agent.certificate for agent in agents}
            for name, certificate in swarm.certificates().items():
                assert f"{x509.load_pem_x509_certificate(certificate.encode()).serial_number:x}" == serials[name]
            # Nobody's pipeline was touched: it came once, at one generation, and runs.
            assert {(len(agent.history), len(agent.observed())) for agent in swarm.agents} == {(1, 1)}
            assert ask(lambda client: client.get_pipeline("edge")).phases == {"good": AGENTS}
            kinds = Counter(event.kind for event in _events(ask))
            say("events", **{kind: count for kind, count in sorted(kinds.items()) if kind.startswith(("agent", "ca"))})
            assert kinds["agent.duplicate_identity"] == kinds["agent.lost"] == kinds["agent.refused"] == 0
            assert kinds["agent.enrolled"] == AGENTS
            refusals = Counter(str(error) for agent in swarm.agents for error in agent.refusals)
            say("refusals", **{text[:60]: count for text, count in refusals.items()})


def _events(ask: Callable[..., Any]) -> list[api.Event]:
    """All that are kept."""
    found: list[api.Event] = []
    before = 0
    while page := ask(lambda client: client.list_events(limit=1000, before=before)):  # noqa: B023
        found += page
        before = page[-1].revision
    return found
