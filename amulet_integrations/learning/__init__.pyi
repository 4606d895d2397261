from .examples import Example as Example
from .examples import read_examples as read_examples
from .ranking import PreferenceRanking as PreferenceRanking
from .ranking import RankedPreference as RankedPreference
from .ranking import rank_preferences as rank_preferences
from .strength_estimate import StrengthEstimate as StrengthEstimate
from .strength_estimate import estimate_strength as estimate_strength
