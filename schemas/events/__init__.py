"""What services tell each other beside a request's own way: one file per family of
events, each with its topic in `schemas.topics`.

Consumers are deployed before producers, so a field may be added and an enumeration may
grow; nothing is removed. What a consumer branches on is an enumeration, what people read
is text, so that a newer producer's word is recorded by an older recorder.
"""
