from .application import create_app as create_app
from .run import run_server as run_server
from .settings import ServerSettings as ServerSettings
