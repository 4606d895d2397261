"""Who sends a request, as far as the key tells, and for whom."""

from __future__ import annotations

from dataclasses import dataclass

from amulet_integrations.serving.api_errors import ApiError


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key a request came with.

    Attributes:
        key_id: The key's id, which is no secret; None where no keys are in use. Requests of one key
            share its bounds, and its computed prefixes where they name nobody.
        user_id: The user whose key it is; None for an application's key and without keys.
    """

    key_id: str | None = None
    user_id: str | None = None

    @property
    def may_name_users(self) -> bool:
        """Whether the caller may act for any user: an application, or anybody without keys."""
        return self.user_id is None

    def user_for(self, named: str | None) -> str | None:
        """The user whose preferences count, where the request names one, or nobody.

        Raises:
            ApiError: 403, the key belongs to another user.
        """
        if self.may_name_users:
            return named
        if named not in (None, self.user_id):
            raise ApiError.forbidden(
                f"This key is of another user than the one that the request names, {named!r:.80}. "
                "Leave the user out, or use that user's key."
            )
        return self.user_id

    def check_may_use(self, user_id: str) -> None:
        """Refuses a profile that is not the caller's, whether or not it exists.

        Raises:
            ApiError: 403.
        """
        self.user_for(user_id)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who a request is for.

    Attributes:
        user_id: The user whose preferences count; None for nobody.
        cache_salt: Which requests share what has been computed of their prompts; see
            `GenerationRequest.cache_salt`.
    """

    user_id: str | None
    cache_salt: str | None
