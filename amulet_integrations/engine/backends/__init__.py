"""What computes logits: the protocol, and each backend."""
