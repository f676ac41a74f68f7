"""Finds which cluster of Ray to join, and whether one runs here beside a run's own; imports no ray."""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from proxy_attention.errors import ConfigError
from study.execution.ray_folder import USUAL

VARIABLE, OPTION = "RAY_ADDRESS", "--address"
OWN = "local"
"""The address by which Ray is told to start."""
CURRENT = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,39}\]):([0-9]{1,5})\s*")
"""A host and a port, as ``ray start`` writes them down."""


@dataclass(frozen=True)
class ClusterAddress:
    """The address of a cluster to join.

    Attributes:
        text: ``auto``, a host and a port, or ``ray://`` and these.
        named_by: what the user gave it by, for errors: the option or the environment variable.
    """

    text: str
    named_by: str = OPTION

    def refuse(self, reason: object) -> ConfigError:
        """Make the error that says why this cluster cannot be joined."""
        why = " ".join(str(reason).split())[:200]
        return ConfigError(f"{self.named_by} must be of a running Ray cluster; got {self.text!r}: {why}")

    def probe(self) -> None:
        """Check that something listens at the address; Ray itself would try for minutes.

        Raises: ConfigError if nothing does.
        """
        host, _, port = self.text.removeprefix("ray://").rpartition(":")
        if port.isdigit():  # else it is auto, or a name that Ray looks up
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            except (OSError, OverflowError, UnicodeError) as error:
                raise self.refuse(error) from error


def asked_address(option: str | None) -> ClusterAddress | None:
    """Return the cluster that the user wants to join: by the option, else by the variable.

    Returns: None to start a Ray of our own.
    """
    variable = os.environ.get(VARIABLE)
    if variable and option in (None, "", "auto"):  # Ray reads auto so, too
        option, named_by = variable, VARIABLE
    else:
        named_by = OPTION
    return None if option in (None, "", OWN) else ClusterAddress(str(option), named_by)


def running_cluster() -> str:
    """Find the cluster that ``ray start`` has left an address of in Ray's temporary folder, if it is alive.

    Returns: its host and port; an empty text if there is none, or its file cannot be read.
    """
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or USUAL[0]
    try:
        handle = os.open(Path(temporary, "ray", "ray_current_cluster"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            address = CURRENT.fullmatch(os.read(handle, 300).decode())
        finally:
            os.close(handle)
        if address is None:
            return ""
        socket.create_connection((address[1].strip("[]"), int(address[2])), timeout=1).close()
    except (OSError, OverflowError, UnicodeError):
        return ""
    return address[0].strip()
