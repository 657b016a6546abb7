"""What FastStream's generator says of the consumers, held against our own document."""

import json
from typing import Any

import pytest
import yaml

from schemas.export import HOME
from schemas.topics import BUDGETS_WARNED, TOPICS
from services.analyzer.app import build
from services.analyzer.settings import Settings
from services.common.bus.subscriber.asyncapi import merged
from services.common.errors import ConfigError

_OURS: dict[str, Any] = yaml.safe_load((HOME / "asyncapi.yaml").read_text())


def test_what_is_consumed_is_in_our_document_with_the_same_schema() -> None:
    """FastStream's document has no topic, message or field that ours does not have."""
    generated = build(Settings()).asyncapi()
    consumed = {channel["address"] for one in generated for channel in one["channels"].values()}
    assert consumed == {BUDGETS_WARNED.name} | {
        topic.name for topic in TOPICS if {"audit", "security"} & {*topic.consumers} and topic.retention
    }
    for one in generated:
        for topic in TOPICS:
            if topic.name not in {channel["address"] for channel in one["channels"].values()}:
                continue
            revision = max((HOME / "jsonschema" / topic.name).glob("*.json"), key=lambda path: int(path.stem))
            for ours in _messages(json.loads(revision.read_text())):
                found = one["components"]["schemas"][ours["title"]]
                assert found["properties"].keys() == ours["properties"].keys()
                assert found["required"] == ours["required"]


def _messages(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A topic's message, or each that it may carry."""
    names = [one["$ref"].rpartition("/")[2] for one in schema.get("oneOf", [])]
    return [schema["$defs"][name] for name in names] or [schema]


def test_merged_document_adds_the_groups_and_changes_nothing_of_ours() -> None:
    """One document: who consumes what, in which group."""
    document = merged(_OURS, build(Settings()).asyncapi())
    added = document["operations"].keys() - _OURS["operations"].keys()
    assert added == {
        "audit_consumes_audit_entries_v1",
        "kpi_consumes_budgets_warned_v1",
        "security_consumes_inference_completed_v1",
        "security-behaviour_consumes_security_observations_v1",
    }
    operation = document["operations"]["audit_consumes_audit_entries_v1"]
    assert operation["channel"] == {"$ref": "#/channels/audit_entries_v1"}
    assert operation["bindings"]["kafka"]["groupId"]["enum"] == ["audit"]
    assert {name: document["operations"][name] for name in _OURS["operations"]} == _OURS["operations"]
    assert document["channels"] == _OURS["channels"]


def test_merge_with_a_topic_that_is_not_listed_says_so() -> None:
    """A consumer of an unknown topic would wait for ever."""
    with pytest.raises(ValueError, match=r"schemas/topics"):
        merged(_OURS, [{"channels": {"x:nonsense.v1": {"address": "nonsense.v1"}}}])


@pytest.mark.parametrize("roles", ["", "recorder,nonsense", " , "])
def test_build_with_unknown_roles_says_which_there_are(roles: str) -> None:
    """Nothing runs half."""
    with pytest.raises(ConfigError, match="recorder, audit, security, kpi, forecast"):
        build(Settings(analyzer_roles=roles))
