"""As champion.py, for a task that reads more fields than a text."""

from pipelines.served import serve_fields
from steps.transfer.checkpoints import load_predictor

serve_fields(load_predictor)
