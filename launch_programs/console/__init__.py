"""Start-up, output and exit of every command."""
