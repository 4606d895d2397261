"""The plug-in to `vllm serve`: its own routes answer with the preferences of the user who asks.

vLLM finds it by the entry point `amulet` of `vllm.endpoint_plugins`, where `VLLM_PLUGINS` names it.
"""
