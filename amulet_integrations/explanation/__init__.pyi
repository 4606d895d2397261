from .explanation import ExplainedToken as ExplainedToken
from .explanation import Explanation as Explanation
