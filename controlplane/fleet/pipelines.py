"""The rules of pipelines: apply, prune, delete, roll back, adopt. Each is one transaction, all or nothing.

A change of content, or of existence, gets a new generation; a change of selector, labels or description only a new
revision; an identical spec nothing. Deleted pipelines stay as tombstones, so that their revisions go on counting.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count

from controlplane import attribution, guard
from controlplane.changes import follow
from controlplane.fleet.contents import Contents, manifest_of
from controlplane.fleet.drafts import Draft, check_reason, check_unique, draft_of
from controlplane.fleet.reach import Reach, losing, pruned, reach
from controlplane.fleet.validation import Judgement, Validation, decide, said
from controlplane.model import BlobRow, PipelineRow, RevisionRow, Topic
from controlplane.state.store import Reader, Store, Transaction
from controlplane.view import View
from controlplane.words import some
from headrace import api, selector
from headrace.api import Action
from headrace.config import did_you_mean
from headrace.errors import ConflictError, InvalidError, NotFoundError

_JUDGEMENTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What is asked for, in the form that all commands share."""

    drafts: Sequence[Draft] = ()
    delete: Sequence[str] = ()
    prune: selector.Selector | None = None
    purge: bool = False
    confirm: int = 0
    author: str
    reason: str = ""
    judgement: Judgement | None = None

    @property
    def manifests(self) -> list[api.Manifest]:
        return [draft.manifest for draft in self.drafts]


class _OutdatedError(Exception):
    """What was judged is not any more what is there."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What happens to one pipeline; without a row, nothing."""

    change: api.Change
    row: PipelineRow | None = None
    data: bytes = b""


class Pipelines:
    """Commands on pipelines; safe to use from many tasks of one loop."""

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        contents: Contents,
        validation: Validation,
        clock: Callable[[], datetime],
        confirm_floor: int = guard.FLOOR,
    ) -> None:
        self._store = store
        self._view = view
        self._contents = contents
        self._validation = validation
        self._clock = clock
        self._floor = confirm_floor

    async def apply(self, request: api.ApplyPipelinesRequest, *, author: str) -> api.ApplyPipelinesResponse:
        """Raises InvalidError with every fault, ConflictError for another revision, ConfirmError for its reach."""
        check_reason(request.reason)
        if request.if_revision is not None and len(request.manifests) != 1:
            raise InvalidError(f"if_revision is for one manifest; {len(request.manifests)} are given")
        check_unique(request.manifests)
        order = _Order(
            prune=selector.parse(request.prune) if request.prune else None,
            confirm=request.confirm,
            author=author,
            reason=request.reason,
        )
        force = request.force or request.dry_run
        changes, revision = await self._judge(
            order, request.manifests, force=force, dry_run=request.dry_run, if_revision=request.if_revision
        )
        return api.ApplyPipelinesResponse(changes=tuple(changes), fleet_revision=revision)

    async def delete(self, request: api.DeletePipelinesRequest, *, author: str) -> api.DeletePipelinesResponse:
        """Raises NotFoundError, ConfirmError."""
        check_reason(request.reason)
        order = _Order(
            delete=sorted(set(request.names)),
            purge=request.purge,
            confirm=request.confirm,
            author=author,
            reason=request.reason,
        )
        changes, revision = await self._carry_out(order, dry_run=request.dry_run)
        return api.DeletePipelinesResponse(changes=tuple(changes), fleet_revision=revision)

    async def rollback(self, request: api.RollbackPipelineRequest, *, author: str) -> api.RollbackPipelineResponse:
        """Makes an old revision the newest one, deleted or not. Raises NotFoundError and what `apply` raises."""
        check_reason(request.reason)
        async with self._store.read() as reader:
            revision = await _target(reader, request.name, request.to_revision)
            content = await self._contents.get(reader, revision.sha256)
        manifest = manifest_of(request.name, revision, dict(revision.labels), content)
        reason = request.reason or f"rollback to revision {revision.number}"
        order = _Order(confirm=request.confirm, author=author, reason=reason)
        changes, fleet_revision = await self._judge(order, [manifest], force=request.force)
        return api.RollbackPipelineResponse(change=changes[0], fleet_revision=fleet_revision)

    async def adopt(self, manifest: api.Manifest, *, author: str, reason: str) -> api.Change:
        """Makes an orphan's content a pipeline; it runs already, so it is not judged. Raises ConflictError."""
        check_reason(reason)
        order = _Order(drafts=[draft_of(manifest)], author=author, reason=reason)
        changes, _ = await self._carry_out(order, if_revision=0)
        return changes[0]

    async def _judge(
        self,
        order: _Order,
        manifests: Sequence[api.Manifest],
        *,
        force: bool,
        dry_run: bool = False,
        if_revision: int | None = None,
    ) -> tuple[list[api.Change], int]:
        """Carries out what is accepted, judged anew whenever other pipelines changed before it was carried out."""
        for _ in range(_JUDGEMENTS):
            judgement = await self._validation.check(manifests, prune=order.prune)
            decide(judgement.findings, force=force)
            drafted = replace(order, drafts=[draft_of(manifest) for manifest in manifests], judgement=judgement)
            with contextlib.suppress(_OutdatedError):
                return await self._carry_out(drafted, dry_run=dry_run, if_revision=if_revision)
        raise ConflictError(
            f"other pipelines for the same agents changed {_JUDGEMENTS} times while this was checked; try again"
        )

    async def _carry_out(
        self, order: _Order, *, dry_run: bool = False, if_revision: int | None = None
    ) -> tuple[list[api.Change], int]:
        """Decides on the state that the transaction sees; a dry run only looks."""
        access: AbstractAsyncContextManager[Reader] = self._store.read() if dry_run else self._store.write()
        async with access as reader:
            await follow(self._view, reader)
            judgement, prune = order.judgement, order.prune
            if judgement and not self._validation.holds(judgement, order.manifests, prune=prune):
                raise _OutdatedError
            tx: Transaction | None = None if dry_run else reader  # type: ignore[assignment]  # what write() gives
            kept = {draft.manifest.name for draft in order.drafts}
            deletes = [*order.delete, *(pruned(self._view, prune, kept=kept) if prune else ())]
            reaches = {
                draft.manifest.name: reach(self._view, draft.manifest.name, draft.selector) for draft in order.drafts
            }
            reaches |= {name: reach(self._view, name, None) for name in deletes}
            if if_revision is not None:
                self._check_revision(order.drafts[0].manifest.name, if_revision)
            number = count(self._view.plane.generation + 1).__next__ if tx is None else tx.next_generation
            steps = [self._applied(order, draft, reaches[draft.manifest.name], number) for draft in order.drafts]
            steps += [self._deleted(order, name, reaches[name], number) for name in deletes]
            if not dry_run:
                guard.check(
                    agents=sum(1 for _ in self._view.present()),
                    losing=len(losing(reaches)),
                    confirm=order.confirm,
                    floor=self._floor,
                )
            if tx is not None:
                for step in steps:
                    await self._write(tx, order, step)
            return [step.change for step in steps], (await reader.plane()).fleet_revision

    def _check_revision(self, name: str, expected: int) -> None:
        current = self._view.pipelines.get(name)
        actual = 0 if current is None or current.row.deleted else current.row.revision
        if actual != expected:
            there = f"is at revision {actual}" if actual else "does not exist"
            wanted = f"revision {expected} was expected" if expected else "it was expected not to exist"
            raise ConflictError(f"pipeline {name!r} {there}, {wanted}; look at it again, then repeat")

    def _applied(self, order: _Order, draft: Draft, touched: Reach, number: Callable[[], int]) -> _Step:
        manifest, now = draft.manifest, self._clock()
        viewed = self._view.pipelines.get(manifest.name)
        current = None if viewed is None else viewed.row
        live = current is not None and not current.deleted
        spec = (draft.sha256, str(draft.selector), dict(manifest.labels), manifest.description)
        same = current is not None and live and spec == (
            current.sha256, current.selector, dict(current.labels), current.description,
        )  # fmt: skip
        change = api.Change(
            pipeline=manifest.name,
            agents=len(touched.matching),
            gained=len(touched.gained),
            lost=len(touched.lost),
            findings=said(order.judgement.findings.get(manifest.name)) if order.judgement else (),
        )
        if current is not None and same:
            return _Step(replace(change, revision=current.revision, generation=current.generation))
        touches_engine = current is None or not live or current.sha256 != draft.sha256
        row = PipelineRow(
            name=manifest.name,
            revision=(0 if current is None else current.revision) + 1,
            generation=number() if current is None or touches_engine else current.generation,
            sha256=draft.sha256,
            engine=manifest.engine,
            selector=str(draft.selector),
            labels=dict(manifest.labels),
            description=manifest.description,
            created_at=current.created_at if current is not None and live else now,
            updated_at=now,
        )
        action = Action.UPDATED if live else Action.CREATED
        return _Step(replace(change, action=action, revision=row.revision, generation=row.generation), row, draft.data)

    def _deleted(self, order: _Order, name: str, touched: Reach, number: Callable[[], int]) -> _Step:
        viewed = self._view.pipelines.get(name)
        if viewed is None or viewed.row.deleted:
            live = [other for other, view in self._view.pipelines.items() if not view.row.deleted]
            raise NotFoundError(f"there is no pipeline {name!r}{did_you_mean(name, live)}")
        row = replace(
            viewed.row,
            revision=viewed.row.revision + 1,
            generation=number(),
            deleted=True,
            purge=order.purge,
            updated_at=self._clock(),
        )
        change = api.Change(
            pipeline=name,
            action=Action.DELETED,
            revision=row.revision,
            generation=row.generation,
            lost=len(touched.lost),
        )
        return _Step(change, row)

    async def _write(self, tx: Transaction, order: _Order, step: _Step) -> None:
        row, change = step.row, step.change
        if row is None:
            return
        revision = RevisionRow(
            pipeline=row.name,
            number=row.revision,
            generation=row.generation,
            sha256=row.sha256,
            selector=row.selector,
            labels=row.labels,
            description=row.description,
            action=change.action,
            author=order.author,
            reason=order.reason,
            at=row.updated_at,
            author_known_by=attribution.current().known_by,
        )
        if step.data:
            await tx.put(BlobRow(sha256=row.sha256, data=step.data, at=row.updated_at))
        await tx.put(row, revision)
        tx.log(Topic.PIPELINE, row.name)
        touched = f"for {some(change.agents, 'agent')}: {change.gained} gained, {change.lost} lost it"
        if row.deleted:
            touched = f"{some(change.lost, 'agent')} lost it"
        tx.event(
            "pipeline.deleted" if row.deleted else "pipeline.applied",
            f"revision {row.revision} {change.action.value}, {touched}" + (f"; {order.reason}" if order.reason else ""),
            actor=order.author,
            pipeline=row.name,
            generation=row.generation,
        )


async def _target(reader: Reader, name: str, number: int) -> RevisionRow:
    """The revision to go back to; 0 is the newest one before the current that was not a deletion."""
    current = await reader.get(PipelineRow, name)
    if current is None:
        raise NotFoundError(f"there is no pipeline {name!r}, and never was")
    candidates = [number] if number else range(current.revision - 1, 0, -1)
    for candidate in candidates:
        row = await reader.get(RevisionRow, name, candidate)
        if row is not None and row.action is not Action.DELETED:
            return row
        if number:
            what = (
                f"has no revision {number}; it is at {current.revision}"
                if row is None
                else f"was deleted by revision {number}"
            )
            raise NotFoundError(f"pipeline {name!r} {what}; `headrace history {name}` shows them")
    raise NotFoundError(f"pipeline {name!r} has no revision before {current.revision} to go back to")
