"""Pure judgements over text: attacks, personal data, secrets, leaks."""
