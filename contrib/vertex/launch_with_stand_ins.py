"""Launches a run on Vertex AI with stand-ins for Docker and Google Cloud.

python -m contrib.vertex.launch_with_stand_ins RUN_DIRECTORY OUTPUT [GPU]

OUTPUT then holds a folder per image, named after its tag, with what Docker would be given, and
job.json, the request that Vertex AI would get.
"""

import pathlib
import shutil
import sys
from typing import Any
from unittest import mock

from absl import flags
from google.cloud import aiplatform_v1
from xmanager.cloud import auth, build_image

from launch_programs.launching import vertex
from launch_programs.launching.process_environments import process_environments
from launch_programs.nodes.program import make_program
from launch_programs.run.run_directory import RunDirectory


def main(logdir: str, output: str, gpu: str | None = None) -> None:
    target = pathlib.Path(output)
    directory = RunDirectory(logdir)
    config = directory.read_config()
    flags.FLAGS(sys.argv[:1])

    def build(path: str, dockerfile: str, image_name: str, *_: Any) -> str:
        assert pathlib.Path(dockerfile) == pathlib.Path(path, "Dockerfile")
        shutil.copytree(path, target / image_name.rpartition(":")[2])
        return image_name

    def create_custom_job(_: Any, parent: str, custom_job: Any, **__: Any) -> Any:
        (target / "job.json").write_text(aiplatform_v1.CustomJob.to_json(custom_job))
        return aiplatform_v1.CustomJob(custom_job, name=f"{parent}/customJobs/1")

    client = aiplatform_v1.JobServiceClient
    with (
        mock.patch.object(build_image, "build_by_dockerfile", build),
        mock.patch.object(auth, "get_service_account", lambda: "xmanager@project"),
        mock.patch.object(client, "create_custom_job", create_custom_job),
    ):
        learner = process_environments(config.cores_per_actor)["learner"]
        vertex.launch(make_program(config, directory), learner, gpu)


if __name__ == "__main__":
    main(*sys.argv[1:])
