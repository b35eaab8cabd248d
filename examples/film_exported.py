"""Films a policy file: all its tasks side by side, as an animated WebP, which browsers show.

    python -m examples.film_exported FILE OUTPUT.webp [SECONDS]

Each task is played episode after episode; the film has one picture for each agent step.
"""

import pathlib
import sys

from PIL import Image, ImageDraw, ImageOps

from agents.popart_impala import load_policy
from environments import AtariOptions, make_filmed_environment, parse_level_name

WIDTH, CAPTION = 160, 13  # a task's picture, and its name above it, in pixels
COLUMNS = 4
STEPS_PER_SECOND = 15

path, output = map(pathlib.Path, sys.argv[1:3])
count = int(float(sys.argv[3] if len(sys.argv) > 3 else 10) * STEPS_PER_SECOND)

policy = load_policy(path)
tasks = parse_level_name(",".join(policy.tasks))
options = AtariOptions(**policy.info.environment)  # for Atari and Procgen; others ignore these

tiles: list[list[Image.Image]] = []  # by task and step
for index, task in enumerate(tasks):
    environment, screen = make_filmed_environment(tasks, index, atari=options, seed=1)
    assert screen.frames is not None, screen.missing
    policy.reset()
    timestep = environment.reset()
    tiles.append([])
    while len(tiles[-1]) < count:
        picture = Image.fromarray(screen.frames(timestep.observation)[-1])
        height = WIDTH * picture.height // picture.width
        picture = picture.resize((WIDTH, height), Image.Resampling.NEAREST)
        tile = ImageOps.expand(picture, (0, CAPTION, 0, 0))
        ImageDraw.Draw(tile).text((2, 0), task.name)
        tiles[-1].append(tile)
        if timestep.last():
            policy.reset()
            timestep = environment.reset()
        else:
            action = policy(timestep.observation.features, task.name, timestep.reward)
            timestep = environment.step(action)
    environment.close()

columns = min(COLUMNS, len(tasks))
height = max(played[0].height for played in tiles)
film = []
for step in range(count):
    film.append(Image.new("RGB", (columns * WIDTH, -(-len(tasks) // columns) * height)))
    for index, played in enumerate(tiles):
        film[-1].paste(played[step], (index % columns * WIDTH, index // columns * height))
film[0].save(
    output,
    save_all=True,
    append_images=film[1:],
    duration=1000 / STEPS_PER_SECOND,
    loop=0,
    quality=30,
)
print(f"{output}: {count} steps of {', '.join(policy.tasks)}")
