"""What MLflow runs to load a version: it is copied beside the bundle and needs this package."""

from pipelines.registry import serve
from steps.transfer.checkpoints import load_predictor

serve(load_predictor)
