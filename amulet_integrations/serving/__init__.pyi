from .access.caller import Caller as Caller
from .access.request_access import Access as Access
from .application import create_app as create_app
from .profile_api.profile_service import ProfileService as ProfileService
from .profiles_application import add_profile_routes as add_profile_routes
from .profiles_application import create_profiles_app as create_profiles_app
from .run import run_server as run_server
from .settings import ServerSettings as ServerSettings
