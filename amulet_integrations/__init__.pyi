from . import errors as errors
from .decoding import AmuletParams as AmuletParams
from .decoding import PreferenceGate as PreferenceGate
from .decoding import SamplingParams as SamplingParams
from .profiles import InMemoryProfileStore as InMemoryProfileStore
from .profiles import Preference as Preference
from .profiles import PreferenceProfile as PreferenceProfile
from .profiles import ProfileLimits as ProfileLimits
from .profiles import SqlProfileStore as SqlProfileStore
from .profiles import preference_scope as preference_scope

__version__: str
