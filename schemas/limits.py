"""How large a message may be, from the client's body to the dead letter: one budget.

A request grows on its way. Each bound follows from the one before, so that what is let
in at the door fits everywhere behind it:

| record | holds | at most |
|-|-|-|
| InferenceRequested | the body's fields, encoded anew | MAX_REQUEST_BYTES |
| WorkAssigned | that, with where it came from | MAX_REQUEST_BYTES + MARGIN_BYTES |
| ReplyChunk | what was generated in a moment | CHUNK_BYTES + MARGIN_BYTES |
| InferenceRequested, further attempt | and the text delivered so far | the sum of both + MARGIN_BYTES |
| RequestFinished, ReplyEnded | the whole text | MAX_ANSWER_BYTES + MARGIN_BYTES |
| InferenceCompleted | prompt and text, where stored | the sum of both + MARGIN_BYTES |
| DeadLettered | a record in base64, four thirds of it | MAX_RECORD_BYTES |

The last line is the narrowest: (MAX_RECORD_BYTES - MARGIN_BYTES) * 3 / 4 must hold an
InferenceCompleted. Sizes are those of the encoded JSON in UTF-8, which may be longer
than what the client sent (`1e15` becomes `1000000000000000.0`), so they are taken after
encoding.

Whatever exceeds its bound all the same, from another version, say, ends its own request
with an error: see RecordTooLargeError.
"""

MAX_RECORD_BYTES = 2 * 1024 * 1024
"""The largest value of a record; the topics' `max.message.bytes` leaves room for key and
headers on top.
"""

MARGIN_BYTES = 32 * 1024
"""What a message may carry around a request or an answer: ids, positions, times, usage,
an error's text.
"""

MAX_REQUEST_BYTES = 1024 * 1024
"""The largest InferenceRequested of a first attempt; a larger one is refused with 413."""

MAX_ANSWER_BYTES = 448 * 1024
"""The largest answer, over all choices; a longer one ends with an error."""

CHUNK_BYTES = 256 * 1024
"""Pieces that gather are sent once they come to so much."""

MAX_ERROR_CHARS = 2000
"""An error's text is cut off here: an upstream's may be a whole page."""

MAX_NESTING = 200
"""So many levels can be read; a message of the bus wraps a request in up to
NESTING_MARGIN of its own.
"""

NESTING_MARGIN = 8

if (MAX_RECORD_BYTES - MARGIN_BYTES) * 3 // 4 < MAX_REQUEST_BYTES + MAX_ANSWER_BYTES + MARGIN_BYTES:
    raise AssertionError("an InferenceCompleted would not fit into a dead letter")
