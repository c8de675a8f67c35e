"""Data sets that come with the package: generated scenes with exact dense labels."""
