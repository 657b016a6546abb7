"""A process that compiles grammars, beside a model that must not stand still meanwhile.

A schema of sixty bytes can take minutes and all memory, and nobody has the list of those
that do. So each is compiled here first, as far as its first token: whatever takes more
than `CPU_S` of CPU or `MEMORY_BYTES` ends this process.
"""

import re
import resource
import signal

from llguidance import LLMatcher, LLTokenizer

from services.common.process.child.frames import inherited_socket, serve

CPU_S = 0.5
MEMORY_BYTES = 1 << 29
_BYTES = LLTokenizer("byte")
_COMPLAINT = "failed to compile JSON schema:"
_QUOTATION = re.compile(r"\n\s*\d+ \| |\n<state>")
"""Before what a complaint quotes of the grammar, or of the compiler's state."""


def complaint(grammar: str) -> str:
    """What is wrong with a grammar; empty where nothing is."""
    matcher = LLMatcher(_BYTES, grammar, log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    found = matcher.get_error()
    said = found.partition(_COMPLAINT)[2] or found
    return " ".join(_QUOTATION.split(said)[0].split())[:500]


def complaint_in_time(grammar: str) -> str:
    """The same; after `CPU_S` of CPU SIGPROF ends the process, whatever it is doing."""
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        return complaint(grammar)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(inherited_socket(), complaint_in_time)
