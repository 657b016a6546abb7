"""What a model says, inspected while it streams: leaked secrets, personal data that the
input did not hold, the system prompt.

    rules = scan_rules(system_prompt=…, user_texts=[…])     # output_rules.py
    state = ScanState()
    for chunk in answer:
        state, step = scan_chunk(rules, state, chunk)
        send(step.text)                 # safe: what is not is replaced by [REDACTED …]
    step = scan_end(rules, state)

Every decision is taken at a place that the text alone sets (the end of a word, a full
window), never at a chunk's end, so the same answer gives the same output and findings
however it is cut. Words that can hold nothing to hide pass at once; a digit, an @, a
long token or a word such as `password` opens a segment, which is held until a few plain
words have followed, then judged whole. Where telling words do not end (a table of
figures), what is longer than `NARROW` characters is judged and given out by halves; only
what is one word, or a key's block, is held up to `WINDOW` characters and one word.
"""

import re
from dataclasses import dataclass, field, replace

from services.detection.answer_openings import OPENINGS
from services.detection.finding import Finding, placeholder_name
from services.detection.masking import identity_of
from services.detection.output_rules import ECHO, ScanRules, outside_placeholders, said, unsaid_placeholders
from services.detection.sensitive import find_sensitive
from services.detection.system_prompt_echo import EchoState, advance, share_said

WINDOW = 4096
NARROW = 320
_CONTEXT = 96  # characters already given out that a judgement may still look at
_QUIET_WORDS = (
    4  # plain words after which a segment is closed: `password is set to …`, `12 rue de la Paix, 75002 Paris`
)

# A word ends with the white space after it; in Chinese and Japanese, which have none,
# with each character.
_BREAK = r"\s\u3000-\u30ff\u3400-\u9fff\uff00-\uff65"
_WORD = re.compile(rf"[^{_BREAK}]*+[{_BREAK}]")
_TELLING = re.compile(
    r"[0-9@]|://|::|--|[\[(]at[\])]|pass|pwd|mdp|secret|secrète|token|jeton|key|clé|clef|cle|bearer|basic|credential|contrase|kennwort|senha|auth|signature|schlüssel|chiave|clave"
    r"|[^\s]{20}",
    re.IGNORECASE,
)
_BLOCK = re.compile(r"-----BEGIN|PuTTY-User-Key-File")
_REST_OF_TOKEN = re.compile(r"[^\s\"'`<>]*+")
_KEY_WORD = re.compile(r"[A-Za-z0-9+/=\\]{16,}|\S*--\S*|END|RSA|EC|DSA|OPENSSH|ENCRYPTED|PRIVATE|KEY|\s*")


@dataclass(frozen=True, slots=True)
class ScanState:
    """A scan in progress; offsets count from the output's first character.

    Attributes:
        held: what has come and is not given out.
        start: offset of `held`.
        read: how much of `held` has been cut into words.
        opened: where in `held` the open segment begins, -1 for none.
        quiet: plain words since the segment's last telling one.
        context: the last characters before `held`.
        swallowing: whether a value that overran the window goes on: "token", "key" or
            "".
        echo: how the last words follow the system prompt.
        echo_start: offset where a repetition that goes on began, -1 for none.
        hidden: stretches to replace, `(start, end, by what)`, that are not yet past; None
            ends the output there.
        echo_reported: whether the share of the prompt said was reported.
        cut: whether the output has ended, whatever may come.
        whole_from: offset of the open segment that cannot be given out by halves, -1 for
            none.
        opening: a first word that was given out before it was known to be whole.
    """

    held: str = ""
    start: int = 0
    read: int = 0
    opened: int = -1
    quiet: int = 0
    context: str = ""
    swallowing: str = ""
    echo: EchoState = field(default_factory=EchoState)
    echo_start: int = -1
    echo_reported: bool = False
    hidden: tuple[tuple[int, int, str | None], ...] = ()
    cut: bool = False
    whole_from: int = -1
    opening: str = ""


@dataclass(frozen=True, slots=True)
class ScanStep:
    """What a chunk released.

    Attributes:
        text: can be given to the user.
        findings: by offset in the output as the model gave it.
        cut: whether this was the last of it: what follows is not to be told.
    """

    text: str
    findings: tuple[Finding, ...]
    cut: bool = False


def scan_chunk(rules: ScanRules, state: ScanState, chunk: str) -> tuple[ScanState, ScanStep]:
    """Take one chunk; give out what is safe by now."""
    if state.cut:
        return state, ScanStep("", (), cut=True)
    scan = _Scan(rules, state, chunk)
    scan.read_words()
    text = scan.give_out(scan.safe_until()) or scan.give_opening()
    return scan.state(), ScanStep(text, tuple(scan.findings), scan.cut)


def scan_end(rules: ScanRules, state: ScanState) -> ScanStep:
    """The output has ended: judge and give out what is held."""
    if state.cut:
        return ScanStep("", (), cut=True)
    scan = _Scan(rules, state, "")
    scan.read_words()
    scan.read_word(len(scan.held))
    scan.close_segment(len(scan.held))
    scan.end_echo(len(scan.held))
    return ScanStep(scan.give_out(len(scan.held)), tuple(scan.findings), scan.cut)


class _Scan:
    """A state while a chunk is worked on.

    Positions are in `held`, offsets count from the output's first character.
    """

    def __init__(self, rules: ScanRules, state: ScanState, chunk: str) -> None:
        self.rules = rules
        self.held = state.held + chunk
        self.start, self.read, self.opened, self.quiet = state.start, state.read, state.opened, state.quiet
        self.context, self.swallowing = state.context, state.swallowing
        self.echo, self.echo_start, self.echo_reported = state.echo, state.echo_start, state.echo_reported
        self.hidden, self.cut, self.whole_from = list(state.hidden), state.cut, state.whole_from
        self.opening = state.opening
        self.findings: list[Finding] = []

    def state(self) -> ScanState:
        """The state to go on from."""
        return ScanState(
            held=self.held,
            start=self.start,
            read=self.read,
            opened=self.opened,
            quiet=self.quiet,
            context=self.context,
            swallowing=self.swallowing,
            echo=self.echo,
            echo_start=self.echo_start,
            echo_reported=self.echo_reported,
            hidden=tuple(self.hidden),
            cut=self.cut,
            whole_from=self.whole_from,
            opening=self.opening,
        )

    def read_words(self) -> None:
        """Take every word that is complete, and every window that is full."""
        while True:
            if self.swallowing and not self._swallow():
                return
            word = _WORD.match(self.held, self.read)
            begin = self.opened if self.opened >= 0 else self.read
            if (word.end() if word else len(self.held)) - begin > WINDOW:
                self._cut_window(begin)
            elif word and word.end() - begin > NARROW and self._cut_narrow(begin):
                continue
            elif word:
                self.read_word(word.end())
            else:
                return

    def read_word(self, end: int) -> None:
        """Take the word that ends at a position: it opens, continues or closes a
        segment.
        """
        word = self.held[self.read : end]
        if self.start + self.read == len(self.opening):
            word = self.opening + word
        self._follow_prompt(word)
        if _TELLING.search(word):
            self.opened = self.opened if self.opened >= 0 else self.read
            self.quiet = 0
        elif self.opened >= 0 and not word.isspace():
            self.quiet += 1
        self.read = end
        if self.opened >= 0 and self.quiet > _QUIET_WORDS:
            self.close_segment(end)

    def close_segment(self, end: int) -> None:
        """Judge the open segment, up to a position."""
        if self.opened >= 0:
            for finding in self._judge(self.opened, end):
                self._report(finding)
        self.opened, self.quiet = -1, 0

    def _judge(self, begin: int, end: int) -> list[Finding]:
        """Findings in held[begin:end] that the user did not say, by offset; what was
        given out is only looked at.
        """
        before = (self.context + self.held[:begin])[-_CONTEXT:]
        text = before + self.held[begin:end]
        shift = self.start + begin - len(before)
        known = self.rules.known
        found = [
            f for f in find_sensitive(text) if said(*identity_of(f.type, text[f.start : f.end])) not in known
        ]
        if "[" in text:
            found = [*outside_placeholders(text, found), *unsaid_placeholders(text, self.rules.unsaid)]
        return [
            replace(f, start=max(f.start + shift, self.start + begin), end=f.end + shift)
            for f in found
            if f.end > len(before)
        ]

    def _report(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._hide(finding.start, finding.end, finding.type, f"[REDACTED {placeholder_name(finding.type)}]")

    def _hide(self, start: int, end: int, kind: str, shown: str) -> None:
        action = self.rules.action(kind)
        if action != "observe":
            start = max(start, len(self.opening))
            self.hidden.append((start, end, shown if action == "mask" else None))

    def _cut_narrow(self, begin: int) -> bool:
        """Judge what a long segment begins with, and close its first half; False where it
        is one word or belongs together, and was not closed.
        """
        first = self.start + begin
        space = _WORD.match(self.held, begin + NARROW // 2, begin + NARROW)
        if self.opened < 0 or first == self.whole_from or not space:
            return False
        self.whole_from = first
        if _BLOCK.search(self.held, begin, begin + NARROW):
            return False
        findings = self._judge(begin, begin + NARROW)
        cut = first + space.end() - begin
        cut = min([f.start for f in findings if f.start < cut < f.end], default=cut)
        if cut <= first:
            return False
        for finding in findings:
            if finding.end <= cut:
                self._report(finding)
        self.opened = cut - self.start
        return True

    def _cut_window(self, begin: int) -> None:
        """A segment fills the window: judge it, close its first half, and leave the
        rest open.

        A value that fills the window alone is hidden, and so is what goes on as it
        does.
        """
        findings = self._judge(begin, begin + WINDOW)
        first = self.start + begin
        space = _WORD.match(self.held, begin + WINDOW // 2, begin + WINDOW)
        cut = first + (space.end() - begin if space else WINDOW // 2)
        across = next((f for f in findings if f.start < cut < f.end), None)
        if across:
            cut = across.end if across.end < first + WINDOW else across.start
        for finding in findings:
            if finding.end <= cut or cut == first:
                self._report(finding)
        if across and cut == first:
            self.swallowing = "key" if across.type == "SECRET_PRIVATE_KEY" else "token"
            cut, self.opened = first + WINDOW, -1
        else:
            self.opened = cut - self.start
        if cut - self.start > self.read:
            self._follow_prompt(self.held[self.read : cut - self.start])
            self.read = cut - self.start
        self.quiet = 0

    def _swallow(self) -> bool:
        """Hide what continues a value that overran the window; False while it may go on
        beyond what has come.
        """
        begin = self.read
        if self.swallowing == "token":
            rest = _REST_OF_TOKEN.match(self.held, begin)
            self.read = rest.end() if rest else begin
            is_over = self.read < len(self.held)
        else:
            is_over = self._swallow_key()
        if self.read > begin:
            self.hidden.append((self.start + begin, self.start + self.read, ""))
        if is_over:
            self.swallowing = ""
        return is_over

    def _swallow_key(self) -> bool:
        while word := _WORD.match(self.held, self.read):
            if not _KEY_WORD.fullmatch(word.group().strip()):
                return True
            self.read = word.end()
        if len(self.held) - self.read > WINDOW:
            self.read += WINDOW
        return False

    def _follow_prompt(self, word: str) -> None:
        """Hold the word against the system prompt: a long enough run is hidden, from
        its first word on.
        """
        prompt = self.rules.prompt
        if prompt is None:
            return
        offset = self.start + self.read
        offset = 0 if offset == len(self.opening) else offset
        self.echo = advance(prompt, self.echo, word, offset)
        length, began = self.echo.longest
        if self.echo_start >= 0 and began != self.echo_start and length < prompt.run_words:
            self.end_echo(self.read)
        if self.echo_start < 0 and length >= prompt.run_words:
            self.echo_start = began
        if not self.echo_reported and (share := share_said(prompt, self.echo)) >= prompt.share:
            self.echo_reported = True
            self.findings.append(
                Finding(
                    offset,
                    offset + len(word),
                    ECHO,
                    min(1.0, share),
                    f"share of the prompt's n-grams said, at least {prompt.share:g}",
                )
            )

    def end_echo(self, position: int) -> None:
        """A repetition of the system prompt has ended at a position."""
        if self.echo_start >= 0:
            end = self.start + position
            self.findings.append(
                Finding(self.echo_start, end, ECHO, 0.95, "words of the system prompt in a row")
            )
            self._hide(self.echo_start, end, ECHO, f"[REDACTED {ECHO}] ")
        self.echo_start = -1

    def safe_until(self) -> int:
        """Up to where nothing can be found any more."""
        safe = self.opened if self.opened >= 0 else self.read
        length, began = self.echo.longest
        if self.echo_start < 0 and length:
            safe = min(safe, began - self.start)
        return max(safe, 0)

    def give_opening(self) -> str:
        """The output's first word at once, where answers begin with it: who waits for an
        answer need not wait for its second word. Should it go on (`The`, `Theodore@…`),
        the rest is judged with it.
        """
        if self.start or self.held.rstrip(".,!:") not in OPENINGS:
            return ""
        self.opening = self.context = self.held
        self.start, self.held = len(self.opening), ""
        return self.opening

    def give_out(self, until: int) -> str:
        """The text up to a position with what is hidden replaced, each hidden stretch
        once.
        """
        end = self.start + until
        closed = len(self.hidden)
        if 0 <= self.echo_start < end:
            self._hide(self.echo_start, end, ECHO, f"[REDACTED {ECHO}] ")
        ranges = sorted(self.hidden, key=lambda one: one[:2])
        del self.hidden[closed:]
        parts: list[str] = []
        offset = self.start
        for begins, ends, shown in ranges:
            if begins >= end:
                break
            if begins >= offset:
                parts.append(self.held[offset - self.start : begins - self.start])
                if shown is None:
                    return self._end_here(parts)
                parts.append(shown)
            offset = max(offset, min(ends, end))
        parts.append(self.held[offset - self.start : until])
        self._drop(until, end)
        return "".join(parts)

    def _end_here(self, parts: list[str]) -> str:
        """The output ends: nothing that is held, or comes, is told."""
        self.cut, self.held, self.context, self.hidden = True, "", "", []
        return "".join(parts)

    def _drop(self, until: int, end: int) -> None:
        """Forget what was given out, but for the context."""
        self.context = (self.context + self.held[:until])[-_CONTEXT:]
        self.held = self.held[until:]
        self.start = end
        self.read -= until
        self.opened = self.opened - until if self.opened >= 0 else -1
        self.hidden = [stretch for stretch in self.hidden if stretch[1] > end]
