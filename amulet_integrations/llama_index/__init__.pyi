from .kv_store import KVProfileStore as KVProfileStore
from .llm import AmuletLLM as AmuletLLM
