"""What is to be expected: threats by the hour, users who turn critical. Pure."""
