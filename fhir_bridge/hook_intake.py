"""What a call of a hook does to the store."""
