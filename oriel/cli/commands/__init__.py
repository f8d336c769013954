"""The commands, one module for each noun. Each asks the API, prints, and returns an exit code."""
