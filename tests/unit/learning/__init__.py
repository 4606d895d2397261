"""What answers show about preferences."""
