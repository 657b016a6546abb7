"""docs/security.md: every item has a test that is there, and what is said of whole kinds
of things holds for all of them.
"""

import ast
import re
from pathlib import Path

import pytest

from services.embedded.installation.child_environment import SECRETS
from tests.e2e.planted_secrets import BASES, DRAWN, PLANTED, SETTINGS, secret_variables

ROOT = Path(__file__).resolve().parents[3]
DOC = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", DOC)
ITEMS = [*(f"API{number}" for number in range(1, 11)), *(f"LLM{number:02}" for number in range(1, 11))]
_SETTINGS = re.compile(r"^class (\w+)\((CommonSettings|AccessSettings)\)", re.MULTILINE)
_DETECTORS_MAY = ("services.detection",)


@pytest.mark.parametrize("item", ITEMS)
def test_item_says_what_holds_it_and_names_a_test(item: str) -> None:
    """Of both lists of OWASP's, each item one row."""
    [row] = [line for line in DOC.splitlines() if line.startswith(f"| {item} ")]
    _, _, holds, _, tests, _ = (cell.strip() for cell in row.split("|"))
    assert len(holds) > 30
    assert re.search(r"`tests/[\w/]+\.py::test_\w+`", tests), row


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)))
def test_test_that_is_named_is_there(file: str, test: str) -> None:
    """A renamed or removed test leaves no claim behind."""
    functions = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    assert test in {one.name for one in functions if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_files_and_anchors_that_are_named_are_there() -> None:
    """Links of the page."""
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", DOC):
        assert (ROOT / "docs" / link).exists(), link


def test_settings_of_every_service_are_known() -> None:
    """A further class of settings is looked at for secrets, too."""
    found = {
        (".".join(path.relative_to(ROOT).with_suffix("").parts), name)
        for path in (ROOT / "services").rglob("*.py")
        for name, _ in _SETTINGS.findall(path.read_text(encoding="utf-8"))
    }
    known = {(one.__module__, one.__name__) for one in (*SETTINGS, *BASES)}
    assert found | {("services.common.process.settings", "CommonSettings")} == known


def test_every_secret_setting_is_planted_and_searched_for() -> None:
    """By tests/e2e/test_secrets.py: a secret that nobody plants is one that nobody looks
    for.
    """
    planted = {*PLANTED, *DRAWN} - {"OPENAI_API_KEY"}
    assert planted == secret_variables()


def test_every_secret_setting_is_given_to_those_only_who_need_it() -> None:
    """`tocsin up` knows whose each is; Kafka's password travels in its address."""
    assert secret_variables() - {"TOCSIN_KAFKA_PASSWORD"} <= set(SECRETS)


def test_detectors_reach_neither_bus_nor_store() -> None:
    """What is sent to a gateway teaches them nothing, and they take nothing out."""
    for path in (ROOT / "services" / "detection").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            ours = [name for name in names if name.startswith(("services.", "schemas"))]
            assert all(name.startswith(_DETECTORS_MAY) for name in ours), (path, ours)


def test_store_keeps_no_vectors() -> None:
    """Embeddings tell their texts again; the first table of them needs its own defence."""
    sql = "".join(path.read_text() for path in (ROOT / "infra" / "clickhouse").glob("*.sql"))
    assert "CREATE TABLE" in sql
    sql = re.sub(r"(?:median|low80|high80|low95|high95) Array\(Float64\)", "", sql)  # by the hour
    assert not re.search(r"Array\((?:B?Float|Quantized)|vector_similarity|embedding", sql, re.IGNORECASE)
