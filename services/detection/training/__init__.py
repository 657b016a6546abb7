"""How the committed models came about; nothing here is imported at run time."""
