"""What Dailies does, without Discord, HTTP or SQL."""
