"""Input `systemd`: follows the journal of this machine, or of a folder, from where it left off.

export.py   journal entries as journalctl writes them
cursors.py  how far the journal was read and how far it is delivered; Fluent Bit's own database
plugin.py   the input itself: a journalctl that follows, started again when it ends
"""

from agent.engine.inputs.systemd.plugin import Systemd

__all__ = ["Systemd"]
