"""The software bill of materials of a Tocsin installation, as CycloneDX 1.6 JSON.

    python infra/supply/sbom.py OUT

Run by `make sbom` with the tools of infra/supply/tools.txt. It lists the Python packages
that requirements/all.txt locks, as they are installed in .venv (versions, licences, who
needs whom), and Kafka's jars with their SHA-256.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Writes the bill, valid against CycloneDX's own schema."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if len(sys.argv) != 2:
        sys.exit("give the file to write: python infra/supply/sbom.py dist/sbom.json")
    tool, options = Path(sys.executable).parent / "cyclonedx-py", "--spec-version 1.6 --output-reproducible"
    made = subprocess.run(
        [tool, "environment", ".venv/bin/python", "--pyproject", "pyproject.toml", *options.split()],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    bill = shipped(json.loads(made.stdout), locked_names((ROOT / "requirements/all.txt").read_text()))
    bill["components"] += jars((ROOT / "infra/kafka/jgo.lock.toml").read_text())
    text = json.dumps(bill, indent=1, sort_keys=True) + "\n"
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"the bill is not valid CycloneDX: {error}")
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(f"{out}: {len(bill['components'])} components")


def shipped(bill: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The bill without what only development needs."""
    kept = [one for one in bill["components"] if normalised(one["name"]) in names]
    references = {one["bom-ref"] for one in kept} | {bill["metadata"]["component"]["bom-ref"]}
    dependencies = [
        one | {"dependsOn": [name for name in one.get("dependsOn", ()) if name in references]}
        for one in bill["dependencies"]
        if one["ref"] in references
    ]
    return bill | {"components": kept, "dependencies": dependencies}


def locked_names(lock: str) -> set[str]:
    """The packages that a lock names for this platform's Python, normalised (PEP 503)."""
    return {normalised(name) for name in re.findall(r"^([A-Za-z0-9][\w.-]*)==", lock, re.MULTILINE)}


def normalised(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def jars(lock: str) -> list[dict[str, Any]]:
    """Kafka's jars as components."""
    return [
        {
            "type": "library",
            "bom-ref": f"{one['groupId']}:{one['artifactId']}:{one['version']}",
            "group": one["groupId"],
            "name": one["artifactId"],
            "version": one["version"],
            "purl": f"pkg:maven/{one['groupId']}/{one['artifactId']}@{one['version']}",
            "hashes": [{"alg": "SHA-256", "content": one["sha256"]}],
        }
        for one in tomllib.loads(lock)["dependencies"]
    ]


if __name__ == "__main__":
    main()
