"""`python3 -m sandbox`: Discord, the providers and a page to try the bot. Never in production."""
