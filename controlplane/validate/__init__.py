"""Whether pipelines would do what their author means, before anything is stored. Pure.

Every fault is listed, not only the first. An error refuses the change, a warning refuses it unless the author insists
(`force`), a note refuses nothing: it says what could not be checked. One module for each kind of rule; `check` has
their order. What the real engine does with each mistake was measured: an error is what no engine could run.
"""

from controlplane.validate.check import check
from controlplane.validate.facts import AgentFacts, Findings, FleetFacts

__all__ = ["AgentFacts", "Findings", "FleetFacts", "check"]
