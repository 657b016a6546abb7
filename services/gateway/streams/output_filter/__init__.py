"""What becomes of an answer on its way from the log to its client: placeholders of a
masked prompt stand for their values again, what it gives away is masked or ends it.

`sealing.py` reads what a request brings along for that, `text_filter.py` passes one text on,
`output_filter.py` an answer's pieces.
"""
