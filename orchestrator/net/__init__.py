"""What providers, hooks, store and commands share over texts from outside: cleaning them, hiding secrets."""
