"""What answers say about preferences."""
