"""What tests share: small real models, and engines made of them."""
