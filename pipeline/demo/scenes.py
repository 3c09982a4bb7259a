"""The ten scenes of the demo, chosen by hand, a still life, and scenes drawn at random for experiments."""

from __future__ import annotations

import numpy as np

from pipeline.demo.camera import CameraSpec
from pipeline.demo.entities import COLOURS
from pipeline.demo.places import FLYERS, PLACES
from pipeline.demo.specs import EntitySpec, PathSpec, PropSpec, SceneSpec

DEMO_SCENES: tuple[SceneSpec, ...] = (
    SceneSpec(
        name="meadow_red_ball",
        backdrop="meadow",
        seed=3,
        entities=(
            EntitySpec(
                kind="ball",
                colour="red",
                path=PathSpec(knots=((0.16, 0.72), (0.5, 0.78), (0.84, 0.84)), heights=(0.2, 0.25), bounces=5, hop=0.9),
            ),
        ),
        camera=CameraSpec(pan=(0.14, 0.0)),
    ),
    SceneSpec(
        name="street_blue_car",
        backdrop="street",
        seed=1,
        entities=(
            EntitySpec(kind="car", colour="blue", path=PathSpec(knots=((0.2, 0.885), (0.82, 0.885)), heights=(0.22,))),
        ),
        props=(PropSpec(kind="post", foot=(0.56, 1.04), height=0.95),),
    ),
    SceneSpec(
        name="pond_yellow_duck",
        backdrop="pond",
        seed=6,
        entities=(
            EntitySpec(
                kind="duck",
                colour="yellow",
                shadow="water",
                path=PathSpec(
                    knots=((0.72, 0.6), (0.52, 0.66), (0.3, 0.7)), heights=(0.23, 0.3), sway=3, bob=0.02, sway_rate=0.5
                ),
            ),
        ),
        camera=CameraSpec(shake=0.008),
    ),
    SceneSpec(
        name="desk_green_mug",
        backdrop="desk",
        seed=2,
        entities=(
            EntitySpec(
                kind="mug",
                colour="green",
                path=PathSpec(knots=((0.34, 0.74), (0.48, 0.8), (0.64, 0.77)), heights=(0.3, 0.33)),
            ),
        ),
        camera=CameraSpec(zoom=1.18, pan=(0.02, 0.02)),
    ),
    SceneSpec(
        name="night_orange_balloon",
        backdrop="night",
        seed=4,
        entities=(
            EntitySpec(
                kind="balloon",
                colour="orange",
                shadow="none",
                depth=0.95,
                path=PathSpec(
                    knots=((0.36, 0.62), (0.5, 0.5), (0.68, 0.52)), heights=(0.4, 0.46), sway=4, sway_rate=0.35
                ),
            ),
        ),
        camera=CameraSpec(turn=3.5, pan=(0.06, -0.03)),
    ),
    SceneSpec(
        name="sea_red_boat",
        backdrop="sea",
        seed=3,
        entities=(
            EntitySpec(
                kind="boat",
                colour="red",
                shadow="water",
                path=PathSpec(
                    knots=((0.2, 0.6), (0.42, 0.66), (0.6, 0.76)), heights=(0.3, 0.38, 0.48), sway=4, bob=0.012
                ),
            ),
        ),
        camera=CameraSpec(pan=(0.1, 0.02), shake=0.004),
    ),
    SceneSpec(
        name="wall_black_cat",
        backdrop="wall",
        seed=8,
        entities=(
            EntitySpec(
                kind="cat",
                colour="black",
                shadow="wall",
                path=PathSpec(knots=((0.72, 0.775), (0.26, 0.775)), heights=(0.36,)),
            ),
        ),
    ),
    SceneSpec(
        name="forest_orange_fox",
        backdrop="forest",
        seed=5,
        entities=(
            EntitySpec(
                kind="fox",
                colour="orange",
                path=PathSpec(knots=((0.22, 0.77), (0.52, 0.8), (0.78, 0.79)), heights=(0.3, 0.31)),
            ),
        ),
        props=(
            PropSpec(kind="tree", foot=(0.58, 0.9), height=1.02),
            PropSpec(kind="tree", foot=(0.06, 0.7), height=0.8),
        ),
        camera=CameraSpec(travel=0.16, far=0.3),
    ),
    SceneSpec(
        name="snow_penguin_gift_truck",
        backdrop="snow",
        seed=9,
        entities=(
            EntitySpec(
                kind="penguin",
                colour="black",
                path=PathSpec(knots=((0.2, 0.64), (0.46, 0.68)), heights=(0.28,), sway=7, sway_rate=1.4),
            ),
            EntitySpec(
                kind="truck", colour="green", path=PathSpec(knots=((0.3, 0.95), (0.7, 0.93)), heights=(0.22, 0.23))
            ),
            EntitySpec(
                kind="gift",
                colour="red",
                path=PathSpec(knots=((0.82, 0.66), (0.68, 0.7)), heights=(0.2,), bounces=4, hop=0.5),
            ),
        ),
        camera=CameraSpec(zoom=0.86, turn=-4.0, tilt=0.03),
    ),
    SceneSpec(
        name="beach_ball_and_kite",
        backdrop="beach",
        seed=7,
        entities=(
            EntitySpec(
                kind="ball",
                colour="purple",
                path=PathSpec(knots=((0.78, 0.78), (0.5, 0.84), (0.24, 0.86)), heights=(0.2, 0.24), bounces=4, hop=0.7),
            ),
            EntitySpec(
                kind="kite",
                colour="pink",
                shadow="none",
                depth=0.4,
                path=PathSpec(knots=((0.26, 0.36), (0.38, 0.3), (0.5, 0.4)), heights=(0.28,), sway=12, sway_rate=0.45),
            ),
        ),
        props=(PropSpec(kind="umbrella", foot=(0.6, 0.72), height=0.52),),
        camera=CameraSpec(travel=-0.22, far=0.2, shake=0.003),
    ),
)
"""The demo: every scene has its own place, palette, cast and camera work."""

STILL_LIFE = SceneSpec(
    name="kitchen_still_life",
    backdrop="kitchen",
    seed=11,
    entities=(
        EntitySpec(kind="mug", colour="white", path=PathSpec(knots=((0.32, 0.7),), heights=(0.34,))),
        EntitySpec(kind="apple", colour="green", path=PathSpec(knots=((0.56, 0.78),), heights=(0.24,))),
        EntitySpec(kind="apple", colour="yellow", path=PathSpec(knots=((0.72, 0.72),), heights=(0.23,))),
    ),
    seconds=0.05,
)
"""The demo's image."""

SHORT_SCENE = SceneSpec(
    name="too_short_kite",
    backdrop="meadow",
    seed=21,
    tint=(1.1, 0.98, 0.8),
    entities=(
        EntitySpec(
            kind="kite",
            colour="yellow",
            shadow="none",
            depth=0.3,
            path=PathSpec(knots=((0.3, 0.5), (0.6, 0.4)), heights=(0.36,), sway=10),
        ),
    ),
    seconds=2.0,
)
"""A clip shorter than the pipeline accepts."""


def random_scene(seed: int, seconds: float = 5.2) -> SceneSpec:
    """A scene drawn at random: place, light, one to three entities, paths and camera. Same seed, same scene."""
    rng = np.random.default_rng([seed, 77])
    name = list(PLACES)[int(rng.integers(len(PLACES)))]
    place = PLACES[name]
    count = int(rng.choice(3, p=(0.6, 0.28, 0.12))) + 1
    colours = rng.permutation(sorted(COLOURS))[:count]
    camera = _random_camera(rng)
    red, green, blue = rng.uniform(0.82, 1.12, 3)
    props: tuple[PropSpec, ...] = ()
    if place.props and rng.random() < 0.5:
        foot = (float(rng.uniform(0.2, 0.8)), float(rng.uniform(*place.stand)) + 0.03)
        props = (PropSpec(kind=place.props[0], foot=foot, height=float(rng.uniform(0.6, 0.95))),)
    return SceneSpec(
        name=f"random_{seed}",
        backdrop=name,
        seed=int(rng.integers(1 << 31)),
        tint=(float(red), float(green), float(blue)),
        entities=tuple(_random_entity(rng, name, str(colour)) for colour in colours),
        props=props,
        camera=camera,
        seconds=seconds,
    )


def _random_entity(rng: np.random.Generator, backdrop: str, colour: str) -> EntitySpec:
    place = PLACES[backdrop]
    flies = place.horizon > 0.3 and rng.random() < 0.2
    kind = str(rng.choice(FLYERS if flies else place.cast))
    far, near = (0.4, 0.6) if flies else place.stand
    side = rng.choice((-1.0, 1.0))
    start, end = 0.5 - side * rng.uniform(0.12, 0.32), 0.5 + side * rng.uniform(0.05, 0.32)
    rows = rng.uniform(far, near, 3) if place.shadow != "wall" else np.full(3, far)
    knots = ((start, float(rows[0])), ((start + end) / 2, float(rows.mean())), (end, float(rows[2])))
    tall = rng.uniform(0.2, 0.34)
    hops = kind in ("ball", "gift", "apple") and rng.random() < 0.6
    floats = flies or place.shadow == "water"
    path = PathSpec(
        knots=knots,
        heights=(float(tall), float(tall * rng.uniform(0.85, 1.25))),
        bounces=float(rng.integers(3, 7)) if hops else 0.0,
        hop=float(rng.uniform(0.4, 0.9)) if hops else 0.0,
        sway=float(rng.uniform(2, 8)) if floats or kind == "penguin" else 0.0,
        sway_rate=float(rng.uniform(0.3, 0.9)),
        bob=0.015 if floats else 0.0,
    )
    return EntitySpec(
        kind=kind,
        colour=colour,
        path=path,
        shadow="none" if flies else place.shadow,
        depth=place.horizon if flies else None,
    )


def _random_camera(rng: np.random.Generator) -> CameraSpec:
    style = int(rng.integers(6))
    if style == 0:
        return CameraSpec()
    if style == 1:
        return CameraSpec(pan=(float(rng.uniform(-0.18, 0.18)), float(rng.uniform(-0.05, 0.05))))
    if style == 2:
        return CameraSpec(zoom=float(rng.uniform(0.85, 1.2)), turn=float(rng.uniform(-5, 5)))
    if style == 3:
        return CameraSpec(shake=float(rng.uniform(0.003, 0.012)))
    if style == 4:
        return CameraSpec(tilt=float(rng.uniform(-0.05, 0.05)), pan=(float(rng.uniform(-0.1, 0.1)), 0.0))
    return CameraSpec(travel=float(rng.uniform(-0.25, 0.25)), far=float(rng.uniform(0.1, 0.4)))
