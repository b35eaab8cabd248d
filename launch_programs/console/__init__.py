"""How every command starts, speaks and ends."""
