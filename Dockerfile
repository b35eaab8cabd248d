# One image for every role: docker build -t popart-impala . && docker run popart-impala --help
#
# The wheels need only libc, libstdc++, libgcc and zlib from the system, which the slim image has.
FROM python:3.10-slim

WORKDIR /app
COPY . .
# No cache in the image: the environment is made once.
RUN UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1 python3 tools/bootstrap.py setup && rm -rf .venv-tools

# Checkpoints and metrics.
VOLUME /app/runs
ENTRYPOINT ["/app/.venv/bin/python", "-m", "launch_programs.train"]
