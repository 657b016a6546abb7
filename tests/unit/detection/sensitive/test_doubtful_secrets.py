"""What is masked in texts that are kept, though it raises no alarm: values that only
look made up.
"""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from services.detection.masking import mask
from services.detection.secrets.placeholders import entropy, holds_nothing
from services.detection.sensitive import find_sensitive, find_to_keep_out
from tests.unit.detection.sensitive.test_secrets import ASSIGNED, NONE, PROVIDERS, WHOLE

DOUBTFUL = [
    ("my token is ghp_1234567890abcdefghijklmnopqrstuvwxyz", "ghp_1234567890abcdefghijklmnopqrstuvwxyz"),
    ("sk-proj-1234567890abcdefghijklmnopqrstuvwxyz1234", "sk-proj-1234567890abcdefghijklmnopqrstuvwxyz1234"),
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ("glpat-abcdefghij1234567890", "glpat-abcdefghij1234567890"),
    ("password: changeme123", "changeme123"),
    ("password: hunter2-example", "hunter2-example"),
    ("password = '<hunter2!9>'", "<hunter2!9>"),
    ('api_key = "my-token-9f8e7d6c5b4a3928"', "my-token-9f8e7d6c5b4a3928"),
    ("mysql -pMySecret99 shop", "MySecret99"),
    ("mysql -p'$ecret9xy' shop", "$ecret9xy"),
    ("postgres://root:root@db/x", "postgres://root:root@db/x"),
    ("postgres://user:password@localhost/db", "postgres://user:password@localhost/db"),
    ("Server=db;User Id=sa;Password=example1;", "Server=db;User Id=sa;Password=example1;"),
]  # fmt: skip
_BOTH = {"AKIAIOSFODNN7EXAMPLE", "postgres://user:password@localhost/db"}
_LINES = st.sampled_from([*(text for text, _ in (*DOUBTFUL, *ASSIGNED)), *(text for _, text in WHOLE), *NONE])


@pytest.mark.parametrize(("text", "value"), DOUBTFUL)
def test_value_that_looks_made_up_is_not_kept_and_raises_no_alarm(text: str, value: str) -> None:
    """Nobody knows that it is: people number their real passwords, too."""
    assert not any(finding.type.startswith("SECRET") for finding in find_sensitive(text))
    assert [text[one.start : one.end] for one in find_to_keep_out(text)] == [value]
    assert value not in mask(text, find=find_to_keep_out).text


@pytest.mark.parametrize("text", [one for one in NONE if one not in _BOTH])
def test_what_holds_no_value_at_all_is_kept_as_it_is(text: str) -> None:
    """Names in brackets, variables, code that fetches a secret, prose about one."""
    assert find_to_keep_out(text) == ()


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: f"{p['id']}-{p['pattern'][:6]}")
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_token_of_a_providers_form_is_not_kept_whatever_it_says(
    provider: dict[str, Any], data: st.DataObject
) -> None:
    """But for one character again and again."""
    token = data.draw(st.from_regex(re.compile(provider["pattern"], re.ASCII), fullmatch=True))
    assume(entropy(token[4:]) >= 1.0 and not holds_nothing(token))
    text = f"TOKEN={token} # comment"
    assert any(f.start <= 6 and f.end >= 6 + len(token.rstrip("=.-_~")) - 2 for f in find_to_keep_out(text))


@settings(max_examples=80, deadline=None)
@given(lines=st.lists(_LINES, min_size=1, max_size=4))
def test_text_to_keep_loses_all_that_alarms_and_masking_it_again_changes_nothing(lines: list[str]) -> None:
    """Doubt only adds."""
    text = "\n".join(lines)
    kept = mask(text, find=find_to_keep_out)
    assert all(
        any(one.start <= found.start and found.end <= one.end for one in kept.findings)
        for found in find_sensitive(text)
    )
    assert mask(kept.text, find=find_to_keep_out).text == kept.text


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_value_is_judged_in_time_linear_in_it(value: str) -> None:
    """Patterns that could try again and again never do."""
    assert holds_nothing(value) in (True, False)
    for start in ("this.", "os.environ[", "config", "<", "{", "["):
        assert holds_nothing(start + value + "!" * 200) in (True, False)
