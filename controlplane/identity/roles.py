"""What each role may call: one table over every RPC of the management API. Pure.

    read    look at everything that has no secret in it
    edit    change pipelines, and the variables and secrets that they use; start engines anew
    deploy  let agents in and out: bootstrap tokens, approval, labels, revocation
    admin   give others access, take the whole state away, change keys and authorities

Each role may do what those before it may. A test holds the table against the schema, so that no RPC is without a role.
"""

from __future__ import annotations

from collections.abc import Mapping

from headrace.errors import ForbiddenError
from headrace.types import Role

ORDER = (Role.READ, Role.EDIT, Role.DEPLOY, Role.ADMIN)

NEEDED: Mapping[str, Role] = {
    **dict.fromkeys(
        (
            *("list_pipelines", "get_pipeline", "list_revisions", "watch_pipeline", "get_logs"),
            *("list_agents", "get_agent", "list_variables", "list_tokens", "list_secrets", "list_authorities"),
            *("list_events", "watch_events", "get_status", "query_metrics", "latest_metrics", "watch_metrics"),
        ),
        Role.READ,
    ),
    **dict.fromkeys(
        (
            *("apply_pipelines", "delete_pipelines", "rollback_pipeline", "adopt_workload"),
            *("restart_pipeline", "retry_pipeline", "set_variables", "set_secret", "delete_secret"),
        ),
        Role.EDIT,
    ),
    **dict.fromkeys(
        ("set_labels", "approve_agent", "deny_agent", "revoke_agent", "create_token", "revoke_token"), Role.DEPLOY
    ),
    **dict.fromkeys(
        (
            *("create_user", "list_users", "revoke_user"),
            *("rekey_secrets", "backup", "rotate_authority", "finish_rotation"),
        ),
        Role.ADMIN,
    ),
}
"""By the method of the RPC."""


def check(name: str, role: Role, method: str) -> None:
    """Raises ForbiddenError; a method that is not in the table is for admins."""
    needed = NEEDED.get(method, Role.ADMIN)
    if ORDER.index(role) < ORDER.index(needed):
        raise ForbiddenError(
            f"{name!r} has role {role.value!r}, and {method.replace('_', ' ')} needs {needed.value!r}; "
            "ask an admin of this control plane, or of its cluster, for that role"
        )
