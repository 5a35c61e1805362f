"""TLS for what is HTTPS on Google Cloud: a certificate authority that lives as long as the simulator."""

from __future__ import annotations

import ssl
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Final

import trustme

HOST: Final = "127.0.0.1"


class CertificateAuthority:
    """Signs one certificate, for this machine; nothing outside this run trusts it. `close` it."""

    def __init__(self) -> None:
        self._authority = trustme.CA(organization_name="offline Cloud Run")
        self._folder = tempfile.TemporaryDirectory(prefix="cloudrun-")
        self.bundle = Path(self._folder.name) / "ca.pem"
        """The file that clients must trust."""
        self._authority.cert_pem.write_to_path(self.bundle)

    def close(self) -> None:
        """Remove the bundle."""
        self._folder.cleanup()

    @cached_property
    def _certificate(self) -> trustme.LeafCert:
        return self._authority.issue_cert(HOST, "localhost")

    def server_context(self) -> ssl.SSLContext:
        """Return the context of a server that this machine reaches as `HOST`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        return context

    def key_and_chain(self) -> tuple[bytes, bytes]:
        """Return private key and certificate chain as PEM, for servers that take no context."""
        return self._certificate.private_key_pem.bytes(), b"".join(
            part.bytes() for part in self._certificate.cert_chain_pems
        )
