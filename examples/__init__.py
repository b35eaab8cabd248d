"""Short programs that show how to use the parts of the agent."""
