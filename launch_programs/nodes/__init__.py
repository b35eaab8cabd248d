"""The Launchpad program: its graph, and what each node does."""
