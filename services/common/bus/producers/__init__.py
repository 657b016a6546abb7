"""Writing to the bus: plain, in transactions, counting for the ledger."""
