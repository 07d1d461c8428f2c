"""Serializers for message bodies, under the names `channels_redis` uses, so that custom ones can be kept.

The default, `msgpack`, writes what every other program on the broker reads. With another serializer, or with
encryption, only processes with the same settings understand each other: to the broker a body is opaque.
"""

from __future__ import annotations

import abc
import base64
import hashlib
import json
import secrets
from typing import Any, Dict, List, Optional, Sequence, Union

from . import body


class SerializerDoesNotExist(KeyError):
    """The requested serializer was not found."""


class BaseMessageSerializer(abc.ABC):
    """A serializer with optional encryption. Subclasses say how a message becomes bytes and the other way round.

    `symmetric_encryption_keys`: the first encrypts, all decrypt; needs the package `cryptography`. `expiry`: encrypted
    bodies older than that many seconds, and ten, are refused. `random_prefix_length`: random bytes in front, which
    Redis needs to tell equal messages apart and Fanfare does not.
    """

    def __init__(
        self,
        symmetric_encryption_keys: Optional[Sequence[Union[str, bytes]]] = None,
        random_prefix_length: int = 0,
        expiry: Optional[float] = None,
    ) -> None:
        self.random_prefix_length = random_prefix_length
        self.expiry = expiry
        self.crypter = self._crypter(symmetric_encryption_keys) if symmetric_encryption_keys else None

    def _crypter(self, keys: Sequence[Union[str, bytes]]) -> Any:
        if isinstance(keys, (str, bytes)):
            raise ValueError("symmetric_encryption_keys must be a list of possible keys")
        try:
            from cryptography.fernet import MultiFernet
        except ImportError:
            raise ValueError("Cannot run with encryption without 'cryptography' installed.") from None
        return MultiFernet([self.make_fernet(key) for key in keys])

    def make_fernet(self, key: Union[str, bytes]) -> Any:
        """The cipher for a key of any length."""
        from cryptography.fernet import Fernet

        if isinstance(key, str):
            key = key.encode("utf-8")
        return Fernet(base64.urlsafe_b64encode(hashlib.sha256(key).digest()))

    @abc.abstractmethod
    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
        raise NotImplementedError

    @abc.abstractmethod
    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def serialize(self, message: Any) -> bytes:
        """The bytes of a message, encrypted if there are keys."""
        data = self.as_bytes(message)
        if self.crypter is not None:
            data = self.crypter.encrypt(data)
        if self.random_prefix_length > 0:
            data = secrets.token_bytes(self.random_prefix_length) + data
        return data

    def deserialize(self, message: bytes) -> Any:
        """The message of some bytes. Raises what it likes; the layer counts such a message and drops it."""
        if self.random_prefix_length > 0:
            message = message[self.random_prefix_length :]
        if self.crypter is not None:
            message = self.crypter.decrypt(message, None if self.expiry is None else int(self.expiry) + 10)
        return self.from_bytes(message)


class JSONSerializer(BaseMessageSerializer):
    """JSON in UTF-8. Knows no bytes."""

    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
        return json.dumps(message, *args, **kwargs).encode("utf-8")

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
        return json.loads(message, *args, **kwargs)


class MsgPackSerializer(BaseMessageSerializer):
    """MessagePack with exactly the types of the specification; what is wrong is refused with its path."""

    def as_bytes(self, message: Any, *args: Any, **kwargs: Any) -> bytes:
        return body.encode(message)

    def from_bytes(self, message: bytes, *args: Any, **kwargs: Any) -> Any:
        return body.decode(message)


class SerializersRegistry:
    """Serializers by name."""

    def __init__(self) -> None:
        self._registry: Dict[str, Any] = {}

    def register_serializer(self, format: str, serializer_class: Any) -> None:
        """Registers a class with `serialize` and `deserialize` under a name for `serializer_format`."""
        is_serializer = isinstance(serializer_class, type) and (
            issubclass(serializer_class, BaseMessageSerializer)
            or (hasattr(serializer_class, "serialize") and hasattr(serializer_class, "deserialize"))
        )
        if not is_serializer:
            raise AssertionError("`serializer_class` is a class with the methods `serialize` and `deserialize`")
        self._registry[format] = serializer_class

    def get_serializer(self, format: str, *args: Any, **kwargs: Any) -> Any:
        """A serializer of that name. Raises `SerializerDoesNotExist`."""
        try:
            serializer_class = self._registry[format]
        except KeyError:
            raise SerializerDoesNotExist(format) from None
        return serializer_class(*args, **kwargs)

    def names(self) -> List[str]:
        return sorted(self._registry)


registry = SerializersRegistry()
registry.register_serializer("json", JSONSerializer)
registry.register_serializer("msgpack", MsgPackSerializer)
