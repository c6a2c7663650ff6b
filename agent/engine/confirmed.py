"""Pieces that are confirmed in any order, of which the unbroken run from the first one on counts."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ConfirmedRun(Generic[T]):
    """`moved` hears the end of the run when it has grown."""

    __slots__ = ("_moved", "_pieces")

    def __init__(self, moved: Callable[[T], None]) -> None:
        self._moved = moved
        self._pieces: deque[_Piece[T]] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether everything is confirmed."""
        return not self._pieces

    def add(self, end: T) -> Callable[[], None]:
        """The next piece ends here; call the result when it is confirmed."""
        piece = _Piece(end)
        self._pieces.append(piece)

        def confirm() -> None:
            piece.is_confirmed = True
            last = None
            while self._pieces and self._pieces[0].is_confirmed:
                last = self._pieces.popleft()
            if last is not None:
                self._moved(last.end)

        return confirm

    def clear(self) -> None:
        """Whatever is confirmed later of these pieces says nothing any more."""
        self._pieces.clear()


class _Piece(Generic[T]):
    __slots__ = ("end", "is_confirmed")

    def __init__(self, end: T) -> None:
        self.end = end
        self.is_confirmed = False
