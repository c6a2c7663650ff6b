"""The embedded engine: runs a Fluent Bit configuration with nothing installed, as `python -P -m agent.engine -c FILE`.

It takes Fluent Bit's configuration, flags, offset databases and monitoring API, and behaves as it does in what it
implements; what it does not implement it refuses by name before the pipeline starts. Of ours it imports only
`headrace.config`.
"""
