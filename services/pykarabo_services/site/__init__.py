"""The authority of a site: who is invited, who has joined, who was shut out."""
