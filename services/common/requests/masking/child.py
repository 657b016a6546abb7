"""A process that inspects long texts, beside a service that must not stand still
meanwhile.

It has no settings and no secrets, is asked on one socket, and ends when the service
does. Values leave it only towards the service that asked.
"""

from typing import Any

from services.common.process.child.frames import inherited_socket, serve
from services.common.requests.masking.sensitive_texts import Found, Hidden, Inspected, inspect
from services.detection.masking import Vault


def to_json(inspected: Inspected) -> list[Any]:
    """An inspection's result, as the process tells it."""
    identities = [[*key, placeholder] for key, placeholder in inspected.vault.by_identity.items()]
    return [inspected.texts, dict(inspected.vault.values), identities, inspected.found]


def from_json(told: list[Any]) -> Inspected:
    """The result again."""
    texts, values, identities, found = told
    vault = Vault(values, {(name, canonical): placeholder for name, canonical, placeholder in identities})
    return Inspected(tuple(texts), vault, tuple([tuple([Found(*one) for one in some]) for some in found]))


def answer(job: dict[str, Any]) -> list[Any]:
    """What a job asks for."""
    return to_json(inspect(job["texts"], Hidden(job["hidden"])))


if __name__ == "__main__":
    serve(inherited_socket(), answer)
