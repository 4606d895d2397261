"""Requests decoded by vLLM: several contexts of one request, in step, in this process.

A request becomes a `Group` of vLLM requests, one for each context. `LockstepScheduler` has vLLM
compute the logits of all of them in the same step, and a logits processor turns these rows into one
token. Nothing here is imported before an engine is made.
"""
