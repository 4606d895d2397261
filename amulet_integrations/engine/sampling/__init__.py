"""From logits to tokens: the choice of a token, drafts of tokens, and scores of given text."""
