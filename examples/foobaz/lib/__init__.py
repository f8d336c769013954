"""Code that the processes of FooBaz share."""
