"""What services share about requests: ids, the models asked for, the price of an end,
feedback.
"""
