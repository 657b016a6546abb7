"""What an erasure did, signed: whoever has the installation's public key can prove
offline that a receipt is its own, and was not changed.

The key is Ed25519 (RFC 8032), derived from TOCSIN_KEY_PEPPER, so it is the same at every
console and changes with the pepper. What is signed is the receipt as JSON without
`signature`, with sorted names, no spaces, and no escapes beyond ASCII's (RFC 8785).
"""

import hmac
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.events.audit import SubjectErasure
from services.console.privacy.service import iso
from services.console.privacy.subject import subject_digest
from services.console.privacy.topics import copies

FORMAT = "tocsin-erasure-receipt-1"
BEYOND = (
    (
        "backups, exports and what was sent to other systems (upstream models, OTLP, alert channels), which "
        "are their owners' to erase"
    ),
    (
        "the services' logs, which have the public ids of the subject's keys beside the times of calls, and "
        "neither names nor texts, until their files are rotated"
    ),
    (
        "what gateways hold of running streams, fifteen minutes at most, and counts of shared limits by "
        "key and user, a day at most"
    ),
    "text that somebody else wrote about the subject, and names within texts, which nothing finds",
)
"""What an erasure does not reach, as each receipt says."""


def receipt_of(erasure: SubjectErasure) -> dict[str, Any]:
    """An erasure as its receipt tells it, unsigned."""
    return {
        "format": FORMAT,
        "id": erasure.erasure_id,
        "tenant": erasure.tenant,
        "subject": erasure.subject,
        "state": erasure.state,
        "requested_at": iso(erasure.requested_at),
        "requested_by": erasure.requested_by,
        "erased_up_to": iso(erasure.cut_at),
        "erased_at": iso(erasure.erased_at),
        "completed_at": iso(erasure.completed_at),
        "rounds": erasure.rounds,
        "next_round_at": iso(erasure.next_at),
        "stores": [
            {
                **one.model_dump(mode="json", include={"place", "found", "erased", "left", "why", "failed"}),
                "until": iso(one.until),
            }
            for one in sorted(erasure.places, key=lambda place: place.place)
        ],
        "bus": [
            {"topic": name, "holds": what, "gone_by": iso(until)}
            for name, what, until in copies(erasure.cut_at)
        ],
        "bus_gone_by": iso(max(until for _, _, until in copies(erasure.cut_at))),
        "beyond": list(BEYOND),
    }


def signed(erasure: SubjectErasure, pepper: str) -> dict[str, Any]:
    """The receipt with the key's public half and a signature over all of it."""
    key = _signing_key(pepper)
    body = receipt_of(erasure) | {"public_key": public_key_of(pepper)}
    return body | {"signature": key.sign(_canonical(body)).hex()}


def public_key_of(pepper: str) -> str:
    """What verifies an installation's receipts, in hexadecimal."""
    return _signing_key(pepper).public_key().public_bytes_raw().hex()


def verify(receipt: Mapping[str, Any], public_key: str) -> str:
    """What is wrong with a receipt; empty where it is the installation's own, and whole."""
    if receipt.get("format") != FORMAT:
        return f"its format is {receipt.get('format')!r}; this version reads {FORMAT}"
    if receipt.get("public_key") != public_key:
        return "it names another public key than the one that was given"
    body = {name: value for name, value in receipt.items() if name != "signature"}
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(str(receipt.get("signature", ""))), _canonical(body))
    except (InvalidSignature, ValueError):
        return "its signature is not good: somebody changed it, or another installation signed it"
    return ""


def is_about(receipt: Mapping[str, Any], user: str, proof: str) -> bool:
    """Whether a receipt is about a user, by the proof that its requester was given."""
    try:
        digest = subject_digest(proof, str(receipt.get("tenant")), user)
    except ValueError:
        return False
    return hmac.compare_digest(digest, str(receipt.get("subject")))


def _signing_key(pepper: str) -> Ed25519PrivateKey:
    seed = hmac.digest(pepper.encode(), b"tocsin privacy receipt 1", "sha256")
    return Ed25519PrivateKey.from_private_bytes(seed)


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
