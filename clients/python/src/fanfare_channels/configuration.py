"""What a layer is told, checked, for the hub that carries it out."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from . import protocol, requests
from .endpoints import Endpoint
from .security import Security
from .version import __version__

PATIENCE_SECONDS = 10.0
"""How long requests that may be repeated wait for a broker."""
UNIX_BACKOFF_SECONDS = 1.0
TCP_BACKOFF_SECONDS = 5.0


@dataclass(frozen=True)
class Configuration:
    """Brokers, tried in order, and what the hello says."""

    endpoints: List[Endpoint]
    namespace: str
    policy: Dict[str, Any]
    name: Optional[str] = None
    security: Security = field(default_factory=Security)
    patience: float = PATIENCE_SECONDS
    send_patience: float = 0.0
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("fanfare_channels"))

    def hello(
        self, node: str, token: Optional[str] = None, resume: Optional[bytes] = None, received: int = 0
    ) -> bytes:
        """The hello of this process. As a worker it may look into its own namespace, which `group_channels` does."""
        pid = str(os.getpid())
        host = socket.gethostname()[:256]
        return requests.hello(
            client=f"fanfare-channels-python/{__version__}",
            name=self.name or f"python-{pid}",
            role="worker",
            namespace=self.namespace,
            node=node,
            policy=self.policy,
            attributes={"host": host, "pid": pid},
            token=token,
            capabilities=[protocol.CLOCK_CAPABILITY, protocol.RESUME_CAPABILITY],
            resume=resume,
            received=received,
        )

    @property
    def backoff_seconds(self) -> float:
        """The longest wait between two attempts. Dialling a Unix socket nobody listens on costs nothing."""
        is_local = all(endpoint.path is not None for endpoint in self.endpoints)
        return UNIX_BACKOFF_SECONDS if is_local else TCP_BACKOFF_SECONDS
