"""One text of an answer on its way to the client: a choice's words, or the arguments of
one of its calls. Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from services.detection.masking import RestoreState, Vault, restore_chunk, restore_end
from services.detection.output_rules import ScanRules
from services.detection.output_scanner import ScanState, ScanStep, scan_chunk, scan_end


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """What is done to an answer's texts: `scan` is None where nothing is looked for,
    `vault` has what placeholders stand for.
    """

    vault: Vault = field(repr=False)
    scan: ScanRules | None = None

    def in_json(self) -> "AnswerRules":
        """The same for a text that is JSON: values are written as its strings have them."""
        values: Mapping[str, str] = {
            placeholder: json.dumps(value, ensure_ascii=False)[1:-1]
            for placeholder, value in self.vault.values.items()
        }
        return AnswerRules(Vault(MappingProxyType(values)), self.scan)


class TextFilter:
    """Takes a text's chunks and gives what of them may be told by now.

    What the scan holds back has not been judged; what is restored afterwards is no leak:
    its placeholder was judged. So the two together hold back what the scan does, and at
    most one placeholder more.
    """

    def __init__(self, rules: AnswerRules) -> None:
        self._rules = rules
        self._scan = ScanState()
        self._restore = RestoreState()
        self.is_cut = False
        self.hidden: list[str] = []

    def take(self, chunk: str) -> str:
        """What a chunk releases."""
        if self._rules.scan is not None:
            self._scan, step = scan_chunk(self._rules.scan, self._scan, chunk)
            chunk = self._note(step)
        self._restore, text = restore_chunk(self._restore, chunk, self._rules.vault)
        return text

    def end(self) -> str:
        """What was held back till the end."""
        text = ""
        if self._rules.scan is not None:
            self._restore, text = restore_chunk(
                self._restore, self._note(scan_end(self._rules.scan, self._scan)), self._rules.vault
            )
        rest, self._restore = restore_end(self._restore, self._rules.vault), RestoreState()
        return text + rest

    def _note(self, step: ScanStep) -> str:
        self.is_cut = step.cut
        scan = self._rules.scan
        self.hidden += [
            finding.type
            for finding in step.findings
            if scan is not None and scan.action(finding.type) != "observe"
        ]
        return step.text
