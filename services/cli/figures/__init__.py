"""What the control state alone does not tell: spending and prices."""
