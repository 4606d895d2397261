"""Components: what a policy, a grammar, a profile and a user cost on their own."""
