"""A process that masks long texts, beside a service that must not stand still
meanwhile.

It has no settings and no secrets, is asked on one socket, and ends when the service
does. Values leave it only towards the service that asked.
"""

from typing import Any

from services.common.process.child.frames import inherited_socket, serve
from services.common.requests.masking.sensitive_texts import Found, MaskedTexts, MaskScope, mask_texts
from services.detection.masking import Vault


def to_json(masked: MaskedTexts) -> list[Any]:
    """Masked texts, as the process tells them."""
    identities = [[*key, placeholder] for key, placeholder in masked.vault.by_identity.items()]
    return [masked.texts, dict(masked.vault.values), identities, masked.found]


def from_json(told: list[Any]) -> MaskedTexts:
    """The same again."""
    texts, values, identities, found = told
    vault = Vault(values, {(name, canonical): placeholder for name, canonical, placeholder in identities})
    return MaskedTexts(tuple(texts), vault, tuple([tuple([Found(*one) for one in some]) for some in found]))


def answer(job: dict[str, Any]) -> list[Any]:
    """What a job asks for."""
    return to_json(mask_texts(job["texts"], MaskScope(job["scope"])))


if __name__ == "__main__":
    serve(inherited_socket(), answer)
