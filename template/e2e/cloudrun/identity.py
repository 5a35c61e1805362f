"""ID tokens, as Google signs them: https://cloud.google.com/docs/authentication/token-types#id.

The key is made when it is first needed, and nothing outside of this run trusts it.
"""

from __future__ import annotations

import hashlib
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from cloudrun.environment import PROJECT_ID
from cloudrun.errors import CloudRunError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

LIFETIME: Final = 3600.0
"""Seconds."""
INVOKER: Final = f"invoker@{PROJECT_ID}.iam.gserviceaccount.com"
"""Stands for those outside of the system who may call a private service: the `invokers` of Terraform's variables."""
_ISSUER: Final = "https://accounts.google.com"
_ALGORITHM: Final = "RS256"
_CLAIMS: Final = ("iss", "aud", "azp", "sub", "email", "email_verified", "iat", "exp")


class BadToken(CloudRunError):  # noqa: N818 (it is an answer, not an error of the program)
    """The text says what is wrong with an ID token."""


def account_of(project: str, service: str) -> str:
    """Return the email address of a service's account."""
    return f"{project}-{service}@{PROJECT_ID}.iam.gserviceaccount.com"


class IdTokens:
    """Signs and checks."""

    def sign(self, email: str, audience: str, /, *, lifetime: float = LIFETIME, **claims: Any) -> str:
        """Return a token of the account `email`.

        `lifetime` is in seconds. `claims` take the place of Google's; those that are None are left out.
        """
        now = time.time()
        number = f"1{int(hashlib.sha256(email.encode()).hexdigest(), 16) % 10**20:020}"
        values = {
            "iss": _ISSUER,
            "aud": audience,
            "azp": number,
            "sub": number,
            "email": email,
            "email_verified": True,
            "iat": int(now),
            "exp": int(now + lifetime),
            **claims,
        }
        payload = {name: value for name, value in values.items() if value is not None}
        return jwt.encode(payload, self._key, _ALGORITHM, headers={"kid": "offline"})

    def email_in(self, token: str, audiences: list[str]) -> str:
        """Return whose token it is. Raises `BadToken` unless it is signed, in time and for one of `audiences`."""
        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=[_ALGORITHM],
                audience=audiences,
                issuer=_ISSUER,
                options={"require": list(_CLAIMS)},
            )
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise BadToken(f"{error}"[:200]) from error
        if claims["email_verified"] is not True or not isinstance(claims["email"], str):
            raise BadToken("its email is not verified")
        return claims["email"]

    @cached_property
    def _key(self) -> RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
