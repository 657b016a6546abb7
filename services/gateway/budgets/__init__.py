"""Budgets: a request is let in where none of those that it falls under is exhausted.

`book.py` says which budgets a request falls under, `spending.py` what each has spent,
`reservations.py` what requests under way may still spend, `estimates.py` how much that
is at most; `decision.py` decides. All of that is pure. `follower.py` keeps the spending
true, `warner.py` warns, `admission.py` lets requests in.
"""
