"""The agent: runs the pipelines that the control plane desires on this host, and reports what really runs."""
