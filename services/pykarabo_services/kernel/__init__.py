"""What several services share; no service is imported here."""
