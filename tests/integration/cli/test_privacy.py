"""`tocsin privacy` on a real broker: what an operator asks for, and proves offline."""

import json
from pathlib import Path

import pytest

from tests.integration.cli.test_control import Tocsin, tocsin
from tests.support.console.scene import PSEUDONYM_KEY

__all__ = ["tocsin"]


def test_erasure_is_asked_for_shown_and_its_receipt_proven(
    tocsin: Tocsin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not without the name typed again; without a console it waits. The receipt is good
    with the installation's key, about this user by the proof, and not once it was edited.
    """
    monkeypatch.setenv("TOCSIN_PSEUDONYM_KEY", PSEUDONYM_KEY)
    refused = tocsin("privacy", "erase", "jo", "--tenant", "acme", "--confirm", "jojo")
    assert (refused.exit_code, "nothing was begun" in refused.stderr) == (1, True)
    begun = json.loads(
        tocsin("privacy", "erase", "jo", "--tenant", "acme", "--confirm", "jo", "--json").stdout
    )
    nobodys = tocsin("privacy", "erase", "jo", "--tenant", "acmee", "--confirm", "jo", "--json")
    assert (json.loads(nobodys.stdout)["tenant"], nobodys.exit_code) == ("acmee", 0)
    assert "there is no tenant 'acmee'" in nobodys.stderr
    listed = json.loads(tocsin("privacy", "list", "--tenant", "acme", "--json").stdout)
    assert [(one["id"], one["state"]) for one in listed if one["id"] == begun["id"]] == [
        (begun["id"], "requested")
    ]
    assert f"{begun['id']}  tenant acme  requested" in tocsin("privacy", "receipt", begun["id"]).stdout
    receipt = tmp_path / "receipt.json"
    receipt.write_text(tocsin("privacy", "receipt", begun["id"], "--json").stdout)
    public = tocsin("privacy", "key").stdout.strip()
    monkeypatch.setenv("TOCSIN_KAFKA_URL", "127.0.0.1:1")  # verifying asks nobody

    def verify(*more: str) -> tuple[int, bool]:
        found = tocsin("privacy", "verify", str(receipt), "--key", public, *more, "--json")
        return found.exit_code, json.loads(found.stdout)["ok"]

    assert verify("--user", "jo", "--proof", begun["proof"]) == (0, True)
    assert verify("--user", "kim", "--proof", begun["proof"]) == (1, False)
    receipt.write_text(receipt.read_text().replace('"acme"', '"globex"'))
    assert verify() == (1, False)
    unread = tocsin("privacy", "verify", str(tmp_path / "none.json"), "--key", public)
    assert unread.exit_code == 2
