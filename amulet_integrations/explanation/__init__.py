"""Why an answer came out as it did: what its preferences made of each token."""
