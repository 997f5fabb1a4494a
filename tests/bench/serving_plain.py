"""What one writes in ten minutes: FastAPI around a transformers.pipeline, a text a request.

python -m tests.bench.serving_plain BUNDLE PIPELINE PORT
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline


class Asked(BaseModel):
    """A text."""

    text: str


def build(bundle: str, kind: str) -> FastAPI:
    app, pipe = FastAPI(), pipeline(kind, model=bundle)

    @app.post("/predict")
    def predict(asked: Asked) -> Any:
        found = pipe(asked.text)
        return [{key: _plain(value) for key, value in one.items()} for one in found]

    @app.get("/health")
    def health() -> str:
        return "ok"

    return app


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


if __name__ == "__main__":
    uvicorn.run(build(*sys.argv[1:3]), port=int(sys.argv[3]), log_level="warning")
