"""Emulators of the video providers."""
