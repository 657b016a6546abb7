"""Findings as investigators get them. A finding's id follows from what it is about, so
that the same finding made again is the same.
"""

import hashlib
from collections.abc import Sequence

from schemas.events.security import Neighbour, RequestObserved, RiskLevel, RuleHit, SecurityFinding
from services.analyzer.security.domain.behaviour import Request, Sign
from services.analyzer.security.domain.statistics.similarity import similarities

BEHAVIOUR_VERSION = "behaviour-1"
CATEGORIES = frozenset(
    {
        "prompt_injection", "indirect_injection", "jailbreak", "data_extraction", "code_injection",
        "cyber_attack", "suspicious_prompt",
        "secret_leak", "personal_data_leak", "system_prompt_leak",
        "rate", "near_duplicates", "probing", "escalation", "many_blocked", "many_users", "unusual_hours",
    }
)  # fmt: skip
"""What a finding can be of; a metric's label is one of these or `other`."""
_NEIGHBOURS = 6


def finding_id(*parts: str) -> str:
    """An id that follows from `parts`."""
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).hexdigest()


def behaviour_finding(
    seen: RequestObserved, sign: Sign, level: RiskLevel, *, of_key: bool
) -> SecurityFinding:
    """A sign as a finding about a user, or about a key, whose users it says nothing of."""
    return SecurityFinding(
        finding_id=finding_id(
            seen.tenant, seen.request_id, "behaviour", sign.category, "key" if of_key else "user"
        ),
        found_at=seen.at,
        tenant=seen.tenant,
        user="" if of_key else seen.user,
        key_id=seen.key_id,
        request_id=seen.request_id,
        model=seen.model,
        place="behaviour",
        depth="full",
        category=sign.category,
        level=level,
        score=round(sign.points, 3),
        action="flagged",
        rules=(RuleHit(rule=sign.category, category=sign.category, weight=round(sign.points, 3)),),
        detector_version=BEHAVIOUR_VERSION,
        explanation=(sign.why,),
        neighbours=tuple([_neighbour(one, share) for one, share in sign.like[-_NEIGHBOURS:]]),
    )


def with_neighbours(finding: SecurityFinding, request: Request, near: Sequence[Request]) -> SecurityFinding:
    """With the user's requests of about the same time, and how like they were."""
    if not near:
        return finding
    shares = similarities(request.sketch, [one.sketch for one in near])
    found = [_neighbour(one, share) for one, share in zip(near, shares, strict=True)]
    return finding.model_copy(update={"neighbours": tuple(found[-_NEIGHBOURS:])})


def _neighbour(request: Request, share: float) -> Neighbour:
    label = "blocked" if request.blocked else "suspect" if request.is_suspect else "ordinary"
    return Neighbour(reference=request.request_id, similarity=round(share, 3), label=label)
