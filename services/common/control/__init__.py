"""What administrators decide, the same in every service: `state.py` folds the changes,
`reader.py` follows them, `changes.py` and `writer.py` make them.
"""
