"""A server under load: its scheduler, and how long users wait."""
