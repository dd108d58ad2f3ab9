"""The Discord edge: every file without a leading underscore is a loadable cog."""
