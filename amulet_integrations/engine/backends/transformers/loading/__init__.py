"""How checkpoints are found, checked and loaded, and how the embedded model is converted."""
