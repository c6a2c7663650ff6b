"""What the agent reports in numbers: of every workload, of the host, and of itself.

Only `agent.reporting.reporter` is imported by everybody; it brings in the rest when a control plane asks for metrics.
"""
