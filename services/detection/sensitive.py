"""Personal data and secrets together, each stretch of text claimed once."""

from services.detection.finding import Finding, resolve_overlaps
from services.detection.passage import Passage
from services.detection.personal_data import recognise_pii
from services.detection.secrets.recogniser import recognise_secrets


def find_sensitive(text: str, *, with_names: bool = False) -> tuple[Finding, ...]:
    """Personal data and secrets in a text, sorted by position and free of overlaps.

    Pure and linear in the text: it never raises, whatever the string holds.
    """
    passage = Passage(text)
    return resolve_overlaps([*recognise_secrets(passage), *recognise_pii(passage, with_names=with_names)])
