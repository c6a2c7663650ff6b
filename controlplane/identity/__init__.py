"""Who is who: bootstrap tokens, enrolment, credentials, and which process of an agent owns its session."""

from controlplane.identity.approvals import Approvals
from controlplane.identity.authorities import Authorities
from controlplane.identity.claims import Claimed, Claims
from controlplane.identity.credentials import Authority
from controlplane.identity.enrolment import Enrolment
from controlplane.identity.people import People
from controlplane.identity.tokens import Tokens
from controlplane.identity.users import Users

__all__ = ["Approvals", "Authorities", "Authority", "Claimed", "Claims", "Enrolment", "People", "Tokens", "Users"]
