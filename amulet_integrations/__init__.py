"""Local language models behind LangChain and LlamaIndex that answer each user as that user likes.

Importing this package imports neither torch nor transformers nor a framework: names are imported
from their modules on first use.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
