"""The hosted fine-tuning providers: what one is, which there are, and one file for each."""
