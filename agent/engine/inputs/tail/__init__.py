"""Input `tail`: follows log files by name patterns, through rotation, from where it left off.

config.py     what it takes
files.py      one followed file: reading whole lines, noticing truncation and rotation
positions.py  how far each file was read and how far it is delivered; Fluent Bit's own offset database
watch.py      being told of changes (inotify), or looking for them
tags.py       tags made of file names
plugin.py     the input itself
"""

from agent.engine.inputs.tail.plugin import Tail

__all__ = ["Tail"]
