"""Texts from outside, and the secrets in them."""
