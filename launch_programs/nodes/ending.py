"""How a program ends: the coordinator's exit codes, and the ladder of times in which nodes do."""

# Exit codes of the coordinator: another node has told it that the program must end; all frames are
# learned from and saved. Not 0, with which it ends too when it alone gets a SIGTERM.
GIVEN_UP = 3
FINISHED = 4

# Seconds after a stop request, each step a little later than what it waits for. The promise to
# users is that everything has ended after 15.
GRACE = 3.0  # an error of a peer that has gone may come before the stop request is heard
LINGER = 8.0  # the coordinator waits for the learner's last checkpoint
# 10: Launchpad's own notice, after which a node kills itself
NOTICE = 11.0  # a supervisor kills the nodes that are left
ORPHAN = 12.0  # a node that no supervisor watches kills itself: a library may hear of nothing
KILL = 14.0  # `train` kills a launcher and all its nodes
