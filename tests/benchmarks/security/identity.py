"""What letting somebody in costs; `python -m tests.benchmarks.security.identity`.

A known key must cost at most 20 µs of CPU, with 10,000 of them in the state and each
asking in turn.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime

from schemas.control import Scope, TenantChanged, UserChanged
from services.common.control.access.claims import ClaimMapping
from services.common.control.access.exchange import TokenExchange
from services.common.control.access.jwks import SharedSecret
from services.common.control.access.signatures import Expected, public_key, shared_key
from services.common.control.access.tokens import Issuer, TokenChecker
from services.common.control.authentication import KeyChecker, Refusal
from services.common.control.principal import Principal
from services.common.control.state import ControlRecord, ControlState, fold
from services.common.identity import create_key, sign_key
from tests.support.issuer import AUDIENCE, ISSUER, SECRET, claims, jwk, sign

KEYS = 10_000
BAR_US = 20.0
PEPPER = "a pepper for the benchmark only"
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def keys_and_state() -> tuple[list[str], ControlState]:
    """Headers of as many keys, and the state that holds them."""
    headers, records = [], []
    for number in range(KEYS):
        clear, key = create_key(pepper=PEPPER, name="n", tenant="acme", user=f"u{number % 500}", now=NOW)
        signed = sign_key(key.model_copy(update={"version": 1}), pepper=PEPPER)
        headers.append(f"Bearer {clear}")
        records.append(ControlRecord(f"key:{key.key_id}", signed.encode()))
    tenant = TenantChanged(tenant="acme", created_at=NOW, version=1)
    records.append(ControlRecord("tenant:acme", tenant.encode()))
    for number in range(500):
        user = UserChanged(tenant="acme", user=f"u{number}", created_at=NOW, version=1)
        records.append(ControlRecord(f"user:acme/u{number}", user.encode()))
    return headers, fold(ControlState(), records)


def microseconds(do: Callable[[], object], *, times: int, rounds: int = 5) -> float:
    """CPU time of one call, of the best round."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            do()
        best = min(best, (time.process_time() - began) / times * 1e6)
    return best


def main() -> None:
    """Measures and prints."""
    headers, state = keys_and_state()
    checker = KeyChecker(PEPPER)
    turn = itertools.cycle(headers)

    def known() -> object:
        return checker.check(state, next(turn), Scope.INFER, now=NOW)

    for _ in headers:
        known()
    cost = microseconds(known, times=KEYS)
    print(f"known key, {KEYS:,} of them in turn: {cost:.2f} us (bar {BAR_US:g}): {_verdict(cost)}")
    fresh, strangers = KeyChecker(PEPPER), iter(headers)
    cost = microseconds(
        lambda: fresh.check(state, next(strangers), Scope.INFER, now=NOW), times=KEYS, rounds=1
    )
    print(f"key seen for the first time: {cost:.1f} us")
    wrong = f"Bearer tsn_zzzzzzzz_{'x' * 43}"
    cost = microseconds(lambda: checker.check(state, wrong, Scope.INFER, now=NOW), times=5000)
    assert checker.check(state, wrong, Scope.INFER, now=NOW) is Refusal.UNKNOWN
    print(f"key that nobody knows: {cost:.1f} us")
    measure_tokens(state)


def measure_tokens(state: ControlState) -> None:
    """An issuer's tokens, known and seen for the first time."""
    now_s = NOW.timestamp()
    for algorithm in ("HS256", "RS256", "ES256", "EdDSA"):
        key = shared_key(SECRET) if algorithm == "HS256" else public_key(jwk(algorithm), (algorithm,))
        assert key is not None
        issuer = Issuer(
            Expected(ISSUER, (AUDIENCE,), 30, 3600),
            ClaimMapping(tenant="tenant", fixed_tenant="", user="sub", scopes="scope"),
            SharedSecret(key),
        )
        checker = TokenChecker(TokenExchange(PEPPER), issuer)
        tokens = [sign(claims(now_s, sub=f"u{number}"), algorithm) for number in range(500)]
        waiting, turn = iter(tokens), itertools.cycle(tokens)

        def check(token: str, checker: TokenChecker = checker) -> None:
            assert isinstance(checker.check(state, token, Scope.INFER, now=NOW), Principal)

        first = microseconds(lambda check=check, waiting=waiting: check(next(waiting)), times=500, rounds=1)
        known = microseconds(lambda check=check, turn=turn: check(next(turn)), times=5000)
        print(f"{algorithm} token: first {first:.0f} us, known {known:.2f} us: {_verdict(known)}")


def _verdict(cost_us: float) -> str:
    return "held" if cost_us <= BAR_US else "missed"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
