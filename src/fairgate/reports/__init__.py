"""What reports of chaos and bench have in common: one page that needs nothing else, and where it all ran."""
