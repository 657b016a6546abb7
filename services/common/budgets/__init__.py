"""What budgets and reports of money share."""
