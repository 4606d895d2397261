from .serve_application import build_app as build_app
