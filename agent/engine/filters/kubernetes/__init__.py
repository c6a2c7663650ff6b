"""Filter `kubernetes`: adds to the records of a container what Kubernetes knows of its pod.

config.py    what it takes
names.py     what the tag says: pod, namespace, container
metadata.py  what is added, made of what the API says; what annotations ask for
merging.py   the text in `log` taken apart, and the record put together
source.py    where metadata comes from, and how long it is kept
plugin.py    the filter itself, which waits for the source
"""

from agent.engine.filters.kubernetes.plugin import Kubernetes

__all__ = ["Kubernetes"]
