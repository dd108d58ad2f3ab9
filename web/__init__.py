"""The one HTTP server of the bot."""
