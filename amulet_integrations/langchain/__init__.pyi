from .agents.langgraph_store import LangGraphProfileStore as LangGraphProfileStore
from .agents.middleware import PreferenceMiddleware as PreferenceMiddleware
from .agents.preference_tools import forget_preference as forget_preference
from .agents.preference_tools import preference_tools as preference_tools
from .agents.preference_tools import remember_preference as remember_preference
from .chat_model import ChatAmulet as ChatAmulet
