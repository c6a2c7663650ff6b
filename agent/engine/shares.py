"""One batch that a filter keeps back, of which several things wait: it is let go when the last of them is done."""

from agent.engine.plugin import Held


class Share:
    """Begins with one that waits: whoever takes the batch apart, until it is through."""

    __slots__ = ("_left", "held")

    def __init__(self, held: Held) -> None:
        self.held = held
        self._left = 1

    def wait(self) -> None:
        """One more waits."""
        self._left += 1

    def done(self) -> None:
        """One does no longer: it is emitted or dropped."""
        self._left -= 1
        if not self._left:
            self.held.release()
