"""The security role: looks at each request again, and at who sends them (ADR 22)."""
