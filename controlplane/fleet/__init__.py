"""The rules of the fleet: every command and query of people, over one store and one view.

With `controlplane.identity` and `controlplane.observed`, these are the only writers of the state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from controlplane import guard
from controlplane.catalogue import Catalogues
from controlplane.changes import Changes
from controlplane.fleet.actions import Actions
from controlplane.fleet.agents import Agents
from controlplane.fleet.blobs import Blobs
from controlplane.fleet.commands import Commands
from controlplane.fleet.contents import Contents
from controlplane.fleet.orphans import Orphans
from controlplane.fleet.pipelines import Pipelines
from controlplane.fleet.queries import Queries
from controlplane.fleet.uploads import Uploads
from controlplane.fleet.validation import Validation
from controlplane.fleet.watch import Watches
from controlplane.secrets import Secrets
from controlplane.state.store import Store
from controlplane.view import View
from headrace.limits import DEFAULT_LIMITS, Limits

__all__ = ["Actions", "Agents", "Blobs", "Commands", "Fleet", "Orphans", "Pipelines", "Queries", "Uploads", "Watches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All of them, wired once."""

    pipelines: Pipelines
    orphans: Orphans
    agents: Agents
    commands: Commands
    actions: Actions
    blobs: Blobs
    uploads: Uploads
    queries: Queries
    watches: Watches

    @classmethod
    def over(
        cls,
        *,
        store: Store,
        view: View,
        changes: Changes,
        catalogues: Catalogues,
        secrets: Secrets,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        limits: Limits = DEFAULT_LIMITS,
        confirm_floor: int = guard.FLOOR,
    ) -> Fleet:
        """The rules over this store and view."""
        contents = Contents()
        commands = Commands(store=store, changes=changes, clock=clock)
        queries = Queries(store=store, view=view, contents=contents, clock=clock)
        pipelines = Pipelines(
            store=store,
            view=view,
            contents=contents,
            validation=Validation(
                store=store, view=view, contents=contents, catalogues=catalogues, secrets=secrets, limits=limits
            ),
            clock=clock,
            confirm_floor=confirm_floor,
        )
        return cls(
            pipelines=pipelines,
            orphans=Orphans(
                store=store, view=view, contents=contents, commands=commands, pipelines=pipelines, clock=clock
            ),
            agents=Agents(store=store, view=view, clock=clock, confirm_floor=confirm_floor),
            commands=commands,
            actions=Actions(store=store, view=view, commands=commands),
            blobs=Blobs(store=store, view=view, commands=commands, catalogues=catalogues, clock=clock),
            uploads=Uploads(commands=commands, catalogues=catalogues, monotonic=monotonic),
            queries=queries,
            watches=Watches(store=store, view=view, changes=changes, queries=queries),
        )
