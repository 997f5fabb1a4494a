"""A bundle as MLflow's pyfunc serves it; `champion.py` and `champion_of_fields.py` call this."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Predicts(Protocol):
    """What a bundle is loaded as."""

    def predict(self, items: list[Any]) -> list[dict[str, Any]]: ...


def serve_texts(load: Callable[[Path], Predicts]) -> None:
    """Take texts, or a frame with one column of texts; give a dict each."""
    import mlflow

    class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def load_context(self, context: Any) -> None:
            self.predictor = load(Path(context.artifacts["bundle"]))

        # Not dict[str, Any]: MLflow warns at every Any in a hint.
        def predict(self, context: Any, model_input: list[str]) -> list[dict]:  # type: ignore[type-arg]
            return self.predictor.predict(list(model_input))

    mlflow.models.set_model(Served())


def serve_fields(load: Callable[[Path], Predicts]) -> None:
    """Take dicts of the fields that the task reads, such as question and text; give a dict each."""
    import mlflow

    class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def load_context(self, context: Any) -> None:
            self.predictor = load(Path(context.artifacts["bundle"]))

        def predict(self, context: Any, model_input: list[dict[str, str]]) -> list[dict]:  # type: ignore[type-arg]
            return self.predictor.predict(list(model_input))

    mlflow.models.set_model(Served())
