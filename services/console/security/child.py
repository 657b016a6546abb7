"""A process that analyses prompts in full depth, beside a console that must not stand
still meanwhile.

It has no settings and no secrets, is asked on one socket, and ends when the console
does.
"""

from typing import Any

from services.common.process.child.frames import inherited_socket, serve
from services.console.security.analysis import Analyse, analyse
from services.detection.prompt_attacks.detector import PromptDetector


def answering(judge: Analyse) -> Any:
    """What answers jobs: `{"prompt": …}` with what an analysis found."""
    return lambda job: judge(job["prompt"])


if __name__ == "__main__":
    detector = PromptDetector.load()
    serve(inherited_socket(), answering(lambda prompt: analyse(prompt, detector.inspect)))
