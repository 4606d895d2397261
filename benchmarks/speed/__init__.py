"""Speed: whole answers, and steps of decoding, beside rivals."""
