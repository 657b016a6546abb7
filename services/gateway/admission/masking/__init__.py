"""What of a prompt the model gets: docs/security.md, ADR 23.

`prompt_texts.py` says which texts a request has, `protector.py` masks them, or refuses the
request, as its tenant's policy has it.
"""
