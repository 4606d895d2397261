"""What answers with tools or of JSON keep to, as grammars of llguidance."""
