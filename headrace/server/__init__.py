"""The server side of both gRPC APIs, over Protocols that a host implements: the agents' channel and management.

A host writes a `ChannelHandler` and a `ManagementHandler`, wraps them in services, and serves those on listeners; it
meets neither grpc nor protobuf.
"""

from headrace.server.certificate_files import AuthorityFile, CertificateFiles
from headrace.server.channel import ChannelHandler, ChannelService
from headrace.server.link import Link
from headrace.server.listener import Listener
from headrace.server.management import Caller, ManagementHandler, ManagementService, Shown

__all__ = [
    "AuthorityFile",
    "Caller",
    "CertificateFiles",
    "ChannelHandler",
    "ChannelService",
    "Link",
    "Listener",
    "ManagementHandler",
    "ManagementService",
    "Shown",
]
