from .explained_tokens import ExplainedToken as ExplainedToken
from .explanation import Explanation as Explanation
