"""Whose preferences a call follows, and the request that they become."""
