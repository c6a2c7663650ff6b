"""The contents of one pipeline: from the disk or the control plane, prepared for this host, and not prepared twice."""

from __future__ import annotations

from agent.errors import EnvironmentFault
from agent.host import Host
from agent.model import Target
from agent.preparation import Prepared
from headrace.content import Content, check, parse
from headrace.errors import HeadraceError
from headrace.types import Engine, Fault


class Contents:
    """Keeps what it prepared last; `forget` when the variables or secrets change."""

    def __init__(self, pipeline: str, host: Host) -> None:
        self._pipeline = pipeline
        self._host = host
        self._last: tuple[str, Prepared] | None = None

    def look_up(self, target: Target) -> Prepared | None:
        """What is known of a content; None while it is not here."""
        if self._last is not None and self._last[0] == target.sha256:
            return self._last[1]
        data = self._host.state.blob(target.sha256)
        if data is None:
            return None
        self._last = (target.sha256, self._prepare(data))
        return self._last[1]

    async def get(self, target: Target) -> Prepared:
        """The same, fetched from the control plane if need be. Raises EnvironmentFault."""
        if self._host.state.blob(target.sha256) is None:
            try:
                data = await self._host.fetch(target.sha256)
                check(data, sha256=target.sha256, what=f"pipeline {self._pipeline!r}")
            except HeadraceError as error:
                message = f"the content of generation {target.generation} cannot be fetched: {error.message}"
                raise EnvironmentFault(Fault(message=message)) from error
            self._host.state.save_blob(target.sha256, data)
        prepared = self.look_up(target)
        assert prepared is not None
        return prepared

    def forget(self) -> None:
        """Prepare anew the next time."""
        self._last = None

    def _prepare(self, data: bytes) -> Prepared:
        try:
            return self._host.prepare(self._pipeline, parse(data))
        except HeadraceError as error:
            unreadable = Content(engine=Engine.AUTO, config="")
            return Prepared(content=unreadable, engine=None, basis="", render_faults=(Fault(message=error.message),))
