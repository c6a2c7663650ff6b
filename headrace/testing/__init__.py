"""For tests of integrators and our own: a control plane and an agent that only pretend, on the real channel.

Both speak over real loopback sockets; `SeverableProxy` stands between two ends and cuts, stalls or mends the line.
"""

from headrace.testing.agent import FakeAgent
from headrace.testing.plane import FakeControlPlane
from headrace.testing.proxy import SeverableProxy

__all__ = ["FakeAgent", "FakeControlPlane", "SeverableProxy"]
