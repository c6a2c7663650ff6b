"""The rules of `${NAME}`: where values come from, and which names nobody may set. The same on both sides. Pure.

A value is, in this order: what the agent's own environment passes on (`PASSED_ON`), what operators set for the agent,
`HEADRACE_LABEL_<KEY>` and `HEADRACE_AGENT`; an empty one counts as none. Whoever may set a variable must not get around
an agent's policy by it: names that would change the engine itself (`LD_PRELOAD` and the like) are never given to one.
"""

from __future__ import annotations

import re
from functools import lru_cache

from headrace.errors import InvalidError

PASSED_ON = frozenset(
    {
        *("PATH", "HOME", "USER", "HOSTNAME", "NODE_NAME", "LANG", "LC_ALL", "TZ", "TMPDIR"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        *("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),
    }
)
"""What agents pass on from their own environment; what operators set under such a name counts where that lacks it."""

AGENT_VARIABLE = "HEADRACE_AGENT"
"""The agent's name."""

LABEL_PREFIX = "HEADRACE_LABEL_"

_OURS = "HEADRACE_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_STEERING = re.compile("(?:LD_|DYLD_|PYTHON|LUA_|GLIBC_|GCONV_|MALLOC_|OPENSSL_).*|ENV|BASH_ENV|IFS|SHELLOPTS")


def objection(name: str) -> str:
    """Why no engine is given a variable of this name: it would obey it. Empty for any other name."""
    return f"variable {name!r} would change the engine itself; choose another name" if _STEERING.fullmatch(name) else ""


def check_settable(name: str) -> None:
    """Raises InvalidError for a name that operators may not set."""
    if not _NAME.fullmatch(name):
        raise InvalidError(f"variable name {name[:128]!r} must be letters, digits and '_', no digit first, at most 128")
    if name.startswith(_OURS):
        raise InvalidError(f"variable {name!r}: names that begin with {_OURS} are the agent's own; choose another name")
    if wrong := objection(name):
        raise InvalidError(wrong)


def check_carrier(name: str) -> None:
    """Raises InvalidError for a name that cannot carry a secret."""
    check_settable(name)
    if name in PASSED_ON:
        raise InvalidError(f"variable {name!r} is what agents pass on from their own environment; choose another name")


@lru_cache(maxsize=4096)
def label_variable(key: str) -> str:
    """The variable that carries a label: `team/zone-a` is in `HEADRACE_LABEL_TEAM_ZONE_A`."""
    return LABEL_PREFIX + re.sub("[^A-Za-z0-9]", "_", key).upper()
