"""How this process shows a broker who it is, and checks who answers."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass
from typing import Any, Optional

TOKEN_BYTES = 1_024


@dataclass(frozen=True)
class Security:
    """Names of files, which are read again at each dial: replaced, they hold from the next connection on.

    What is not given comes from `$FANFARE_CA_FILE`, `$FANFARE_CERTIFICATE_FILE` and `$FANFARE_KEY_FILE`,
    `$FANFARE_TOKEN_FILE` or `$FANFARE_TOKEN`. The broker's certificate and name are always checked.
    """

    token: Optional[str] = None
    token_file: Optional[str] = None
    ca_file: Optional[str] = None
    certificate_file: Optional[str] = None
    key_file: Optional[str] = None
    server_name: Optional[str] = None
    token_in_the_clear: bool = False

    @classmethod
    def settled(
        cls,
        *,
        token: Optional[str] = None,
        token_file: Any = None,
        ca_file: Any = None,
        certificate_file: Any = None,
        key_file: Any = None,
        server_name: Optional[str] = None,
        token_in_the_clear: bool = False,
    ) -> Security:
        """Completes what was given. Raises `ValueError` for what does not fit together; opens no file."""
        if token is not None and token_file is not None:
            raise ValueError("give token or token_file, not both")
        if token is None and token_file is None:
            token_file = os.environ.get("FANFARE_TOKEN_FILE") or None
            token = None if token_file else os.environ.get("FANFARE_TOKEN") or None
        if certificate_file is None and key_file is None:
            certificate_file = os.environ.get("FANFARE_CERTIFICATE_FILE") or None
            key_file = os.environ.get("FANFARE_KEY_FILE") or None
        if (certificate_file is None) != (key_file is None):
            raise ValueError("a client certificate needs certificate_file and key_file, not only one of them")
        if token is not None:
            _check_token(token, "token")
        if server_name is not None and not (isinstance(server_name, str) and server_name):
            raise ValueError(f"server_name is the name a broker's certificate holds, not {server_name!r}")
        return cls(
            token,
            _path(token_file, "token_file"),
            _path(ca_file or os.environ.get("FANFARE_CA_FILE") or None, "ca_file"),
            _path(certificate_file, "certificate_file"),
            _path(key_file, "key_file"),
            server_name,
            bool(token_in_the_clear),
        )

    def read_token(self) -> Optional[str]:
        """The token to show. Raises `OSError` for a file that cannot be used; no error shows the token."""
        return self.token if self.token_file is None else _read_token(self.token_file)

    def context(self) -> ssl.SSLContext:
        """What TLS 1.2 or 1.3 checks and shows. Raises `OSError` that names the file it could not use."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file is None:
            context.load_default_certs()
        else:
            try:
                context.load_verify_locations(self.ca_file)
            except (OSError, ValueError) as error:
                raise OSError(f"cannot use the CA certificates in {self.ca_file}: {reason(error)}") from None
        if self.certificate_file is not None:
            try:
                # A key behind a password is refused, not asked for on the terminal.
                context.load_cert_chain(self.certificate_file, self.key_file, password="")
            except (OSError, ValueError) as error:
                files = f"{self.certificate_file} and {self.key_file}"
                raise OSError(f"cannot use the client certificate in {files}: {reason(error)}") from None
        return context


def reason(error: Exception) -> str:
    """What TLS or the system did not like, for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _UNVERIFIED:
            return _UNVERIFIED[error.verify_code]
        return f"the broker's certificate cannot be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        for name, text in _REFUSALS:
            if name in str(error.reason or error):
                return text
        return f"TLS failed: {error.reason or error}"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


_UNVERIFIED = {
    9: "the broker's certificate is not valid yet; is this machine's clock right?",
    10: "the broker's certificate has expired",
    18: "no known CA has signed the broker's certificate; name its CA file",
    19: "no known CA has signed the broker's certificate; name its CA file",
    20: "no known CA has signed the broker's certificate; name its CA file",
    21: "no known CA has signed the broker's certificate; name its CA file",
    62: "the broker's certificate is not for the name that was dialled; dial one it holds, or set server_name",
    64: "the broker's certificate is not for the address that was dialled; dial a name it holds, or set server_name",
}
_REFUSALS = (
    ("WRONG_VERSION_NUMBER", "what listens there speaks no TLS; is it meant to be tcp://?"),
    ("HTTP_REQUEST", "what listens there speaks no TLS; is it meant to be tcp://?"),
    ("CERTIFICATE_REQUIRED", "the broker asks for a client certificate, and none was shown"),
    ("ALERT_UNKNOWN_CA", "the broker does not know the CA of this client's certificate"),
    ("ALERT_CERTIFICATE_EXPIRED", "the broker says that this client's certificate has expired"),
    ("ALERT_BAD_CERTIFICATE", "the broker does not accept this client's certificate"),
    ("ALERT_HANDSHAKE_FAILURE", "the broker refused the TLS handshake; does it ask for a client certificate?"),
    ("ALERT_PROTOCOL_VERSION", "the broker and this process have no version of TLS in common"),
    ("EOF", "the broker closed the connection; does it accept this client's certificate?"),
    ("NO_CERTIFICATE_OR_CRL_FOUND", "there is no certificate in PEM in it"),
    ("KEY_VALUES_MISMATCH", "the certificate and the key do not belong together"),
)


def _path(value: Any, name: str) -> Optional[str]:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    raise ValueError(f"{name} is the path of a file, not {value!r}")


def _check_token(token: object, place: str) -> str:
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_BYTES or not all("!" <= sign <= "~" for sign in token):
        raise ValueError(f"{place} must be 1 to {TOKEN_BYTES} visible ASCII characters without spaces in between")
    return token


def _read_token(path: str) -> str:
    """The one line of a token file. Raises `OSError`, also when everybody may open it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(f"cannot use the token file {path}: it is no regular file")
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise OSError(
                f"cannot use the token file {path}: everybody on this machine may open it "
                f"(mode {stat.S_IMODE(mode):o}); chmod 640, or 600"
            )
        data = os.read(descriptor, TOKEN_BYTES + 3)
    finally:
        os.close(descriptor)
    try:
        return _check_token(data.rstrip(b"\r\n ").decode("latin-1"), f"the token in {path}")
    except ValueError as error:
        raise OSError(str(error)) from None
