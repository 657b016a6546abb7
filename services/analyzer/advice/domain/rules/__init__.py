"""Every rule, by its id."""

from collections.abc import Mapping

from services.analyzer.advice.domain.rule import Rule
from services.analyzer.advice.domain.rules import cost, performance, security, usage

RULES: Mapping[str, Rule] = {
    one.id: one for one in (*security.RULES, *performance.RULES, *usage.RULES, *cost.RULES)
}
