"""Believable little scenes with exactly known ground truth: the input of `make shards` without arguments."""

from pipeline.demo.render import render_scene
from pipeline.demo.scenes import DEMO_SCENES, random_scene
from pipeline.demo.truth import SceneTruth, background_map, load_truth
from pipeline.demo.write import render_demo

__all__ = ["DEMO_SCENES", "SceneTruth", "background_map", "load_truth", "random_scene", "render_demo", "render_scene"]
