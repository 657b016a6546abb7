"""What users say of answers: from the call to the event."""
