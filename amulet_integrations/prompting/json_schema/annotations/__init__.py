"""What annotations and docstrings of Python types say, in a form that pydantic takes."""
