"""From logits to tokens: the choice of a token, drafts, and scores of given text."""
