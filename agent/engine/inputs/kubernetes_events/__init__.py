"""Input `kubernetes_events`: what happens in a cluster, as its API server tells it.

events.py   what an answer of the server says: events, versions, the end of a watch
known.py    which events were handed over, and which are delivered; Fluent Bit's own database
plugin.py   the input itself: lists, then watches
"""

from agent.engine.inputs.kubernetes_events.plugin import KubernetesEvents

__all__ = ["KubernetesEvents"]
