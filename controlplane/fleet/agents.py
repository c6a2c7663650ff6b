"""The rules of agents: their facts, the operators' labels and variables, and the end of one.

A label change and what follows from it for selectors are one transaction: the store has the labels, and every view that
reads them re-evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from controlplane import guard
from controlplane.changes import follow
from controlplane.groups import GroupCommit
from controlplane.identity.denials import revoke_certificates
from controlplane.labels import check_labels
from controlplane.model import AgentRow, ObservedRow, SessionRow, Topic, VariableRow
from controlplane.state.store import Store, Transaction
from controlplane.view import AgentView, View
from headrace import api, selector
from headrace.config import did_you_mean
from headrace.errors import InvalidError, LimitError, NotFoundError
from headrace.types import AgentState, Facts, Severity, clock_text
from headrace.variables import check_settable

_LONGEST_VALUE = 32 << 10


class Agents:
    """Commands on agents; safe to use from many tasks of one loop. Run `facts` in a task of its own."""

    def __init__(self, *, store: Store, view: View, clock: Callable[[], datetime], confirm_floor: int) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._floor = confirm_floor
        self.facts = GroupCommit(self._record_facts)

    async def record_facts(self, agent_id: str, facts: Facts) -> None:
        """Takes what an agent says of itself now."""
        await self.facts.submit((agent_id, facts))

    async def set_labels(self, request: api.SetLabelsRequest, *, author: str) -> tuple[str, list[str], list[str]]:
        """The agent's id, and what it gains and loses. Raises NotFoundError, InvalidError, ConfirmError."""
        check_labels(request.set, "labels to set")
        async with self._store.write() as tx:
            await follow(self._view, tx)
            agent = find(self._view, request.agent)
            row = agent.row
            stamped = sorted(row.token_labels.keys() & (request.set.keys() | set(request.unset)))
            if stamped:
                raise InvalidError(f"agent {row.name!r}: label {stamped[0]!r} was stamped by its token and stays")
            kept = {key: value for key, value in row.operator_labels.items() if key not in request.unset}
            changed = replace(row, operator_labels={**kept, **request.set})
            check_labels(changed.labels, f"labels of agent {row.name!r}")
            before = self._view.wanted(agent)
            after = self._view.wanted(replace(agent, row=changed, labels=changed.labels))
            gained, lost = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
            present = sum(1 for _ in self._view.present())
            guard.check(agents=present, losing=int(bool(lost)), confirm=request.confirm, floor=self._floor)
            if changed != row:
                await tx.put(changed)
                tx.log(Topic.AGENT, row.id)
                text = ",".join(f"{key}={value}" for key, value in sorted(changed.operator_labels.items()))
                message = f"{row.name}: labels set by operators are now {text or 'none'}"
                tx.event("agent.labelled", message, actor=author, agent_id=row.id)
        return row.id, gained, lost

    async def revoke(self, request: api.RevokeAgentRequest, *, author: str) -> None:
        """Its credential is good for nothing from this commit on, and every replica ends its session."""
        async with self._store.write() as tx:
            await follow(self._view, tx)
            row = find(self._view, request.agent).row
            if row.state is AgentState.REVOKED:
                return
            await tx.put(replace(row, state=AgentState.REVOKED, state_since=self._clock()))
            await tx.delete(SessionRow, row.id)
            await revoke_certificates(tx, row.id, now=self._clock(), reason=request.reason or "the agent was revoked")
            for observed in await tx.find(ObservedRow, agent_id=row.id):
                await tx.delete(ObservedRow, row.id, observed.pipeline)
            tx.log(Topic.AGENT, row.id)
            message = row.name + (f"; {request.reason}" if request.reason else "")
            tx.event("agent.revoked", message, actor=author, agent_id=row.id, severity=Severity.WARNING)

    async def set_variables(self, request: api.SetVariablesRequest, *, author: str) -> None:
        """Raises InvalidError."""
        rows = [_variable(variable) for variable in request.set]
        async with self._store.write() as tx:
            for gone in request.unset:
                await tx.delete(VariableRow, gone.name, str(selector.parse(gone.selector or "*")))
            await tx.put(*rows)
            names = sorted({variable.name for variable in (*request.set, *request.unset)})
            if names:
                tx.log(Topic.VARIABLE, *names)
                tx.event("variables.set", ", ".join(names), actor=author)

    async def list_variables(self) -> tuple[api.Variable, ...]:
        """All of them."""
        async with self._store.read() as reader:
            rows = await reader.find(VariableRow)
        return tuple(api.Variable(name=row.name, value=row.value, selector=row.selector) for row in rows)

    async def _record_facts(self, items: Sequence[tuple[str, Facts]]) -> Sequence[None]:
        async with self._store.write() as tx:
            rows = {row.id: row for row in await tx.find(AgentRow, id=sorted({agent_id for agent_id, _ in items}))}
            changed = {
                agent_id: replace(rows[agent_id], name=facts.name, facts=facts)
                for agent_id, facts in items
                if agent_id in rows
            }
            await tx.put(*changed.values())
            if changed:
                tx.log(Topic.AGENT, *changed)
            for agent_id, row in changed.items():
                _tell_clock(tx, rows[agent_id], row)
        return [None] * len(items)


def find(view: View, agent: str) -> AgentView:
    """The one agent with this id or name. Raises NotFoundError, and InvalidError where several have the name."""
    found = view.find(agent)
    if not found:
        names = [other.row.name for other in view.present()]
        raise NotFoundError(f"there is no agent {agent!r}{did_you_mean(agent, names)}")
    if len(found) > 1:
        ids = ", ".join(sorted(other.row.id for other in found)[:8])
        raise InvalidError(f"{len(found)} agents are called {agent!r}; say which by its id: {ids}")
    return found[0]


def _tell_clock(tx: Transaction, before: AgentRow, after: AgentRow) -> None:
    """An event when an agent's clock has become wrong, or right again."""
    was, ahead_ms = before.facts.clock_ahead_ms, after.facts.clock_ahead_ms
    if ahead_ms and not was:
        message = f"{after.name}: its clock is {clock_text(ahead_ms)}; it corrects the times of its metrics"
        tx.event("agent.clock_wrong", message, severity=Severity.WARNING, agent_id=after.id)
    elif was and not ahead_ms:
        tx.event("agent.clock_right", f"{after.name}: its clock was {clock_text(was)}", agent_id=after.id)


def _variable(variable: api.Variable) -> VariableRow:
    check_settable(variable.name)
    if len(variable.value.encode()) > _LONGEST_VALUE:
        raise LimitError(f"variable {variable.name!r}: its value has more than {_LONGEST_VALUE} bytes")
    if "\0" in variable.value:
        raise InvalidError(f"variable {variable.name!r}: a value cannot hold a NUL character")
    chosen = selector.parse(variable.selector or "*")
    return VariableRow(name=variable.name, selector=str(chosen), value=variable.value)
