"""Whom costs are of, by the names that administrators use. Pure.

Requests hold users' pseudonyms and keys' ids. Who may read the control state may know
which entered user and which key that is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.common.control.state import ControlState
from services.common.identity import is_pseudonym, pseudonym, pseudonyms
from services.console.domain.cost_query import InvalidQueryError


@dataclass(frozen=True)
class CostNames:
    """The names of all users and keys, or of those of one tenant; `shows_users` where the
    caller may know who is meant by a pseudonym; not `is_read` where the state is not
    known, so that nothing is said not to be there.
    """

    state: ControlState
    pseudonym_key: str
    tenant: str = ""
    shows_users: bool = True
    is_read: bool = True

    def looked_up(self, only: Mapping[str, str]) -> dict[str, str]:
        """The filters with a user's pseudonym in place of the name, which may be
        `tenant/user`.

        Raises:
            InvalidQueryError: it is not said whose user it is.
        """
        asked, user = dict(only), only.get("user", "")
        if not user or not self.shows_users or is_pseudonym(user):
            return asked
        owner, slash, name = user.partition("/")
        tenant = self.tenant or asked.get("tenant", "") or (owner if slash else "")
        name = name if slash and owner == tenant else user
        if not tenant:
            raise InvalidQueryError(
                "user", f"user is {user!r}; say whose: TENANT/{user}, or name the tenant."
            )
        return asked | {"user": pseudonym(self.pseudonym_key, tenant=tenant, user=name)}

    def require_known(self, only: Mapping[str, str], found: Mapping[str, Any]) -> None:
        """Passes where there were requests, or each filter names what there is.

        Raises:
            InvalidQueryError: a tenant, user or key is not there.
        """
        if found["total"]["requests"] or not self.is_read:
            return
        for name, known in (
            ("tenant", self.state.entries("tenant")),
            ("key", {key_id: key for key_id, key in self.state.keys.items() if self._is_seen(key.tenant)}),
        ):
            if only.get(name) and only[name] not in known:
                raise InvalidQueryError(name, f"there is no {name} {only[name]!r}, and there was no request.")
        user = only.get("user", "")
        if user and self.looked_up(only)["user"] not in self._pseudonyms():
            raise InvalidQueryError(
                "user",
                f"there is no user {user!r}, and there was no request; use "
                f"{'the name of one who is there, or ' if self.shows_users else ''}a pseudonym, as grouping "
                "by user shows them.",
            )

    def named(self, found: dict[str, Any]) -> dict[str, Any]:
        """The answer with `user_id` (`tenant/user`) beside users and `key_name` beside
        keys; null for who is not entered.
        """
        if not self.shows_users:
            return found
        groups = found["groups"]
        if "user" in found["group_by"]:
            users = self._pseudonyms()
            groups = [one | {"user_id": users.get(one["user"])} for one in groups]
        if "key" in found["group_by"]:
            groups = [one | {"key_name": self._key_name(one["key"])} for one in groups]
        return found | {"groups": groups}

    def _pseudonyms(self) -> dict[str, str]:
        return {
            name: one.entry_id
            for one in self.state.users.values()
            if self._is_seen(one.tenant)
            for name in pseudonyms(self.pseudonym_key, tenant=one.tenant, user=one.user)
        }

    def _key_name(self, key_id: str) -> str | None:
        key = self.state.keys.get(key_id)
        return key.name if key is not None and self._is_seen(key.tenant) else None

    def _is_seen(self, tenant: str) -> bool:
        return self.tenant in ("", tenant)
