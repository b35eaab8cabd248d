"""How a program ends: the coordinator's exit codes, and the timeouts by which nodes end."""

# Exit codes of the coordinator: another node has told it that the program must end; all frames are
# learned from and saved. Not 0, since it also exits with 0 when it alone receives a SIGTERM.
GIVEN_UP = 3
FINISHED = 4

# Seconds after a stop request, each a little later than the step it waits for. Users are promised
# that everything has ended after 15.
GRACE = 3.0  # the error from a peer that has gone may arrive before the stop request
LINGER = 8.0  # the coordinator waits for the learner's last checkpoint
# 10: Launchpad's own notice, after which a node kills itself
NOTICE = 11.0  # a supervisor kills the remaining nodes
ORPHAN = 12.0  # a node without a supervisor kills itself, as a library may ignore the stop
KILL = 14.0  # `train` kills a launcher and all its nodes


class GivenUp(SystemExit):
    """Ends the coordinator: its process with `GIVEN_UP`, or its thread, where `cause` is read."""

    def __init__(self, cause: str):
        super().__init__(GIVEN_UP)
        self.cause = cause
