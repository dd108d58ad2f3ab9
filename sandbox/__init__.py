"""`python -m sandbox`: Discord, the providers and a page to try the bot on. Never in production."""
