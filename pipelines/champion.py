"""What MLflow runs to load a version: it is copied beside the bundle and needs this package."""

from pipelines.served import serve_texts
from steps.transfer.checkpoints import load_predictor

serve_texts(load_predictor)
