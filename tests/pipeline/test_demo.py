"""The demo scenes: is the truth true, are the files what they claim to be, is every byte repeatable."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from filled_memory import outputs_in_filled_memory

from pipeline.demo import DEMO_SCENES, background_map, load_truth, random_scene, render_demo, render_scene
from pipeline.demo.camera import CameraSpec
from pipeline.demo.entities import COLOURS, KINDS, build
from pipeline.demo.places import PLACES
from pipeline.demo.render import Rendering
from pipeline.demo.specs import EntitySpec, PathSpec, PropSpec, RenderSettings, SceneSpec

SIZE = (96, 160)
CLEAN = RenderSettings(grain=0.0, shutter=0.0)


def scene(name: str) -> SceneSpec:
    """The demo scene of that name."""
    return next(spec for spec in DEMO_SCENES if spec.name == name)


def without_entities(spec: SceneSpec) -> SceneSpec:
    return spec.model_copy(update={"entities": ()})


def smooth(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.float32)


@pytest.mark.parametrize("name", ["wall_black_cat", "street_blue_car", "meadow_red_ball", "snow_penguin_gift_truck"])
def test_pixels_differ_from_the_empty_scene_only_inside_the_masks(name: str) -> None:
    spec = scene(name)
    entities = tuple(entity.model_copy(update={"shadow": "none"}) for entity in spec.entities)
    spec = spec.model_copy(update={"entities": entities})
    clip, truth = render_scene(spec, SIZE, 3, CLEAN)
    empty, _ = render_scene(without_entities(spec), SIZE, 3, CLEAN)
    for frame in range(3):
        mask = np.any([entity.masks.mask(frame) for entity in truth.entities], axis=0)
        difference = np.abs(clip[frame].astype(int) - empty[frame]).max(axis=2)
        away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # Soft edges, less than half opaque, lie outside the mask: they are faint, few and near.
        assert difference[away > 3].max() <= 4
        assert np.count_nonzero(difference[away > 1.5] > 8) <= 0.01 * np.count_nonzero(mask)
        assert np.mean(difference[mask] > 6) > 0.9


def test_a_shadow_is_drawn_but_belongs_to_no_mask() -> None:
    spec = scene("meadow_red_ball").model_copy(update={"camera": CameraSpec()})
    clip, truth = render_scene(spec, SIZE, 2, CLEAN)
    empty, _ = render_scene(without_entities(spec), SIZE, 2, CLEAN)
    outside = cv2.dilate(truth.entities[0].masks.mask(0).astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    dimmed = empty[0].astype(int).sum(axis=2) - clip[0].astype(int).sum(axis=2)
    assert dimmed[outside].max() > 40
    assert dimmed[outside].min() >= 0


def test_masks_stop_where_a_post_hides_the_car() -> None:
    spec = scene("street_blue_car")
    _, truth = render_scene(spec, SIZE, 9, CLEAN)
    _, unhidden = render_scene(spec.model_copy(update={"props": ()}), SIZE, 9, CLEAN)
    post = truth.regions == truth.region_names.index("post-0")
    border = cv2.morphologyEx(post.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    hidden = 0
    for frame in range(9):
        mask, whole = truth.entities[0].masks.mask(frame), unhidden.entities[0].masks.mask(frame)
        assert not np.any(mask & post)
        # On the post's own soft edge both share a pixel and neither may reach half of it.
        assert not np.any((mask ^ (whole & ~post)) & ~border)
        hidden += int(np.count_nonzero(whole & post))
    assert hidden > 50


def test_the_later_of_two_overlapping_entities_owns_the_pixels() -> None:
    far = EntitySpec(kind="gift", colour="red", path=PathSpec(knots=((0.5, 0.7),), heights=(0.4,)))
    near = EntitySpec(kind="ball", colour="blue", path=PathSpec(knots=((0.55, 0.85),), heights=(0.4,)))
    spec = SceneSpec(name="two", backdrop="desk", entities=(near, far))
    _, truth = render_scene(spec, SIZE, 1, CLEAN)
    _, alone = render_scene(spec.model_copy(update={"entities": (near,)}), SIZE, 1, CLEAN)
    ball, gift = (entity.masks.mask(0) for entity in truth.entities)
    assert np.array_equal(ball, alone.entities[0].masks.mask(0))
    assert not np.any(ball & gift)
    assert np.count_nonzero(gift) > 100
    assert np.array_equal(truth.background, ~(ball | gift))


@pytest.mark.parametrize(
    "camera",
    [
        CameraSpec(pan=(0.2, 0.05)),
        CameraSpec(zoom=1.25, turn=6.0),
        CameraSpec(zoom=0.85, tilt=0.08),
        CameraSpec(shake=0.02),
    ],
)
def test_one_homography_maps_a_planar_background(camera: CameraSpec) -> None:
    spec = SceneSpec(
        name="planar",
        backdrop="kitchen",
        props=(PropSpec(kind="post", foot=(0.4, 0.9), height=0.6),),
        camera=camera,
    )
    clip, truth = render_scene(spec, (144, 240), 6, CLEAN)
    assert not truth.parallax
    assert np.allclose(truth.camera[0], np.eye(3))
    inside = np.full((144, 240), 255, np.uint8)
    for frame in (3, 5):
        warped = cv2.warpPerspective(clip[0], truth.camera[frame], (240, 144))
        seen = cv2.erode(cv2.warpPerspective(inside, truth.camera[frame], (240, 144)), np.ones((9, 9))) > 250
        error = np.abs(smooth(warped) - smooth(clip[frame]))[seen].mean()
        unmoved = np.abs(smooth(clip[0]) - smooth(clip[frame]))[seen].mean()
        assert error < 2.0
        assert error < 0.4 * unmoved


def test_background_map_is_exact_under_parallax_where_one_homography_is_not() -> None:
    spec = without_entities(scene("forest_orange_fox"))
    clip, truth = render_scene(spec, (144, 240), 5, CLEAN)
    assert truth.parallax
    assert truth.layer_names == ("distance", "ground", "tree-0", "tree-1")
    assert set(np.unique(truth.layers)) == {0, 1, 2, 3}
    x, y = np.meshgrid(np.arange(24, 216), np.arange(6, 138))
    points = np.column_stack([x.ravel(), y.ravel()]).astype(np.float64)
    layer = truth.layers[y.ravel(), x.ravel()]

    def colours(frame: int, places: np.ndarray) -> np.ndarray:
        map_x, map_y = (places[:, i].astype(np.float32).reshape(x.shape) for i in (0, 1))
        return cv2.remap(smooth(clip[frame]), map_x, map_y, cv2.INTER_LINEAR).reshape(-1, 3)

    before = colours(0, points)
    error = np.abs(colours(4, background_map(truth, points, 4)) - before).mean(axis=1)
    # Points that a nearer layer covers by then cannot agree: medians leave them out.
    for index in range(4):
        assert np.median(error[layer == index]) < 4.0
    everything_ground = cv2.perspectiveTransform(points[None], truth.camera[4])[0]
    single = np.abs(colours(4, everything_ground) - before).mean(axis=1)
    assert np.median(single[layer == 0]) > 3 * np.median(error[layer == 0])
    shifts = background_map(truth, points, 4) - points
    assert np.abs(shifts[layer == 2]).max() > 1.5 * np.abs(shifts[layer == 0]).max()
    assert np.allclose(background_map(truth, points, 0), points)


def test_paths_run_through_the_masks() -> None:
    _, truth = render_scene(scene("sea_red_boat"), SIZE, 5)
    entity = truth.entities[0]
    for frame, (x0, y0, x1, y1) in enumerate(entity.masks.boxes()):
        x, y = entity.path[frame]
        assert x0 <= x <= x1
        assert y0 <= y <= y1
    areas = entity.masks.areas()
    assert areas[-1] > 1.5 * areas[0]


def test_regions_name_the_background_of_the_first_frame() -> None:
    _, truth = render_scene(scene("meadow_red_ball"), SIZE, 1)
    sky, grass = truth.region("sky"), truth.region("grass")
    assert sky[2].all()
    assert grass[-2].all()
    assert not np.any(grass & truth.entities[0].masks.mask(0))
    with pytest.raises(KeyError):
        truth.region("lava")


def test_demo_scenes_are_unlike_each_other_and_show_what_they_name() -> None:
    keyframes = []
    for spec in DEMO_SCENES:
        clip, truth = render_scene(spec, SIZE, 1, CLEAN)
        keyframes.append(cv2.resize(clip[0], (40, 24), interpolation=cv2.INTER_AREA).astype(np.float32))
        for entity in truth.entities:
            mask = entity.masks.mask(0)
            assert mask.mean() > 0.008
            wanted, seen = np.asarray(COLOURS[entity.colour]), np.median(clip[0][mask], axis=0)
            if wanted.max() - wanted.min() > 60:
                assert int(np.argmax(seen)) == int(np.argmax(wanted))
                assert int(np.argmin(seen)) == int(np.argmin(wanted)) or np.ptp(np.sort(wanted)[:2]) < 25
    assert len(DEMO_SCENES) == 10
    assert len({spec.backdrop for spec in DEMO_SCENES}) == 10
    assert sum(spec.camera.parallax for spec in DEMO_SCENES) >= 2
    for index, first in enumerate(keyframes):
        for second in keyframes[index + 1 :]:
            assert np.abs(first - second).mean() > 20


def test_the_same_scene_is_drawn_the_same_at_any_time() -> None:
    spec = random_scene(11)
    first, truth = render_scene(spec, (64, 96), 4)
    render_scene(random_scene(12), (64, 96), 2)
    second, again = render_scene(random_scene(11), (64, 96), 4)
    assert np.array_equal(first, second)
    assert truth.entities[0].masks == again.entities[0].masks
    assert first.shape == (4, 64, 96, 3)


def test_random_scenes_differ_and_show_their_entities() -> None:
    specs = [random_scene(seed) for seed in range(60)]
    assert len({spec.model_dump_json() for spec in specs}) == 60
    assert {spec.backdrop for spec in specs} == set(PLACES)
    assert {entity.kind for spec in specs for entity in spec.entities} >= set(KINDS) - {"apple", "mug", "bird"}
    for spec in specs[:12]:
        clip, truth = render_scene(spec, (48, 80), 2)
        assert clip.std() > 10
        assert sum(int(entity.masks.areas()[0]) for entity in truth.entities) > 15


def test_unknown_names_and_sizes_are_refused_by_name() -> None:
    spec = DEMO_SCENES[0]
    with pytest.raises(ValueError, match="lava"):
        render_scene(spec.model_copy(update={"backdrop": "lava"}), SIZE, 1)
    with pytest.raises(ValueError, match="unicorn"):
        build("unicorn", "red")
    with pytest.raises(ValueError, match="mauve"):
        build("ball", "mauve")
    with pytest.raises(ValueError, match="16×12"):
        Rendering(spec, (12, 16), 1)
    with pytest.raises(ValueError, match="0 of 2 frames"):
        Rendering(spec, SIZE, 2).truth()


RENDER = """
import os, sys
from pathlib import Path
from pipeline.demo import render_demo

folder = Path(sys.argv[1]) / str(os.getpid())
render_demo(folder, scenes=1, size=(144, 240), seconds=1, fps=10, processes=1)
for path in sorted(path for path in folder.rglob("*") if path.is_file()):
    sys.stdout.buffer.write(path.read_bytes())
"""

SMALL = {"scenes": 3, "size": (64, 96), "seconds": 0.5, "fps": 10, "processes": 1}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cv2.setNumThreads(1)
    folder = tmp_path_factory.mktemp("demo")
    render_demo(folder, **SMALL)
    return folder


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_folder_holds_good_files_and_bad_ones_and_hides_the_truth(demo: Path) -> None:
    paths = render_demo(demo, **SMALL)
    assert paths == sorted((demo / "input").iterdir())
    clips = [f"{spec.name}.mp4" for spec in DEMO_SCENES[:3]]
    still, bad = "kitchen_still_life.jpg", ["not-a-video.mp4", "too_short_kite.mp4", "truncated_duck.mp4"]
    assert sorted([*clips, still, *bad]) == [path.name for path in paths]
    for name in clips:
        truth = load_truth(demo / "truth" / f"{Path(name).stem}.json")
        assert len(frames_of(demo / "input" / name)) == truth.num_frames == 5
    assert cv2.imread(str(demo / "input" / still)).shape == (64, 96, 3)
    assert len(load_truth(demo / "truth" / "kitchen_still_life.json").entities) == 3
    assert len(frames_of(demo / "input" / "too_short_kite.mp4")) == 20
    assert not list((demo / "truth").glob("truncated*"))


@pytest.mark.parametrize("name", ["not-a-video.mp4", "truncated_duck.mp4"])
def test_bad_files_cannot_be_decoded(demo: Path, name: str) -> None:
    assert (demo / "input" / name).stat().st_size > 50
    with pytest.raises(av.error.FFmpegError):
        frames_of(demo / "input" / name)


def test_stored_truth_is_the_rendered_truth_and_the_clip_its_pixels(demo: Path) -> None:
    spec = DEMO_SCENES[2].model_copy(update={"seconds": 0.5})
    clip, truth = render_scene(spec, (64, 96), 5)
    stored = load_truth(demo / "truth" / f"{spec.name}.json")
    assert stored.spec == spec
    assert stored.entities[0].masks == truth.entities[0].masks
    assert np.array_equal(stored.motions, truth.motions)
    assert np.array_equal(stored.layers, truth.layers)
    assert np.array_equal(stored.background, truth.background)
    assert stored.region_names == truth.region_names
    decoded = np.stack(frames_of(demo / "input" / f"{spec.name}.mp4"))
    assert np.abs(decoded.astype(int) - clip).mean() < 6


def test_bytes_do_not_depend_on_what_lay_in_memory(tmp_path: Path) -> None:
    one, other = outputs_in_filled_memory(RENDER, str(tmp_path))
    assert one == other


def test_two_processes_write_the_same_bytes_as_one(demo: Path, tmp_path: Path) -> None:
    render_demo(tmp_path, **{**SMALL, "processes": 2})
    for path in sorted(p for p in demo.rglob("*") if p.is_file()):
        assert (tmp_path / path.relative_to(demo)).read_bytes() == path.read_bytes(), path.name
    assert not list(tmp_path.rglob("*.partial"))


def test_a_second_call_renders_only_what_is_missing(tmp_path: Path) -> None:
    options = {**SMALL, "scenes": 1}
    render_demo(tmp_path, **options)
    foreign = tmp_path / "input" / "mine.mp4"
    foreign.write_bytes(b"mine")
    clip, image = tmp_path / "input" / "meadow_red_ball.mp4", tmp_path / "input" / "kitchen_still_life.jpg"
    bytes_before, written = clip.read_bytes(), image.stat().st_mtime_ns
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "input").iterdir()}
    render_demo(tmp_path, **options)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "input").iterdir()}
    clip.unlink()
    render_demo(tmp_path, **options)
    assert clip.read_bytes() == bytes_before
    assert image.stat().st_mtime_ns == written
    render_demo(tmp_path, **{**options, "seed": 5})
    assert clip.read_bytes() != bytes_before
    assert json.loads((tmp_path / "demo.json").read_text())["options"]["seed"] == 5
    assert foreign.read_bytes() == b"mine"


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not 99"):
        render_demo(tmp_path, scenes=99)
    with pytest.raises(ValueError, match="even sides"):
        render_demo(tmp_path, size=(63, 96))
