"""A bundle that transformers itself loads, where its own heads can say what ours says.

Ours is linear: on each word's vector, as in transformers' models for token classification, which is
the same; or on a text's. There transformers' heads read the first token, and have a
layer between: that one is made so nearly the identity that no label changes. A mean over tokens
none of them can say, nor a field, a mix of layers or features beside the vectors.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from steps.core.files import read_json, write_json
from steps.tasks import task_type
from steps.transfer.starts import WEIGHTS

HEAD, ABOUT = "head.safetensors", "network.json"
LINEAR = {"linear.weight", "linear.bias"}
PLAIN = {"crf": False, "wide": False, "mix": False, "lstm": 0, "dropped": 0, "frozen": False}
SMALL = 2.0**-13  # tanh(x) is x, but for a third of x ** 3
FAR = 64.0  # relu and gelu of x + FAR are x + FAR, for any x of a normed vector
Arrays = dict[str, np.ndarray]
# model type -> what its weights' names begin with, the class for words, its head's name
WORDS = {
    "bert": ("bert", "BertForTokenClassification", "classifier"),
    "roberta": ("roberta", "RobertaForTokenClassification", "classifier"),
    "xlm-roberta": ("roberta", "XLMRobertaForTokenClassification", "classifier"),
    "camembert": ("roberta", "CamembertForTokenClassification", "classifier"),
    "distilbert": ("distilbert", "DistilBertForTokenClassification", "classifier"),
    "electra": ("electra", "ElectraForTokenClassification", "classifier"),
    "deberta-v2": ("deberta", "DebertaV2ForTokenClassification", "classifier"),
    "gpt2": ("transformer", "GPT2ForTokenClassification", "classifier"),
    "llama": ("model", "LlamaForTokenClassification", "score"),
    "mistral": ("model", "MistralForTokenClassification", "score"),
    "qwen2": ("model", "Qwen2ForTokenClassification", "score"),
}


def small(weight: np.ndarray, bias: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
    """For a head whose layer between ends in tanh: that layer's diagonal and bias; the head's."""
    return SMALL, 0.0, weight / np.float32(SMALL), bias


def far(weight: np.ndarray, bias: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
    """The same for relu and gelu."""
    return 1.0, FAR, weight, (bias - FAR * weight.astype(np.float64).sum(axis=1)).astype(np.float32)


Between = Callable[[np.ndarray, np.ndarray], tuple[float, float, np.ndarray, np.ndarray]]
# model type -> the class for texts, the layer between and how it ends, the head
TEXTS: dict[str, tuple[str, str, Between, str]] = {
    "bert": ("BertForSequenceClassification", "bert.pooler.dense", small, "classifier"),
    "roberta": (
        "RobertaForSequenceClassification",
        "classifier.dense",
        small,
        "classifier.out_proj",
    ),
    "xlm-roberta": (
        "XLMRobertaForSequenceClassification",
        "classifier.dense",
        small,
        "classifier.out_proj",
    ),
    "camembert": (
        "CamembertForSequenceClassification",
        "classifier.dense",
        small,
        "classifier.out_proj",
    ),
    "distilbert": ("DistilBertForSequenceClassification", "pre_classifier", far, "classifier"),
    "electra": ("ElectraForSequenceClassification", "classifier.dense", far, "classifier.out_proj"),
    "deberta-v2": ("DebertaV2ForSequenceClassification", "pooler.dense", far, "classifier"),
}
PROBLEMS = {
    "classes": "single_label_classification",
    "labels": "multi_label_classification",
    "number": "regression",
}


def export(bundle: Path, temperature: float) -> bool:
    """Let a bundle's own files be loaded by transformers.pipeline; say whether they can be.

    There probabilities are said at this temperature: the head's weights are divided by it.
    """
    about = read_json(bundle / ABOUT) if (bundle / ABOUT).exists() else {"shape": {}}
    if any(about["shape"].get(name) != value for name, value in PLAIN.items()):
        return False
    config, head = read_json(bundle / "config.json"), load_file(bundle / HEAD)
    kind, output = str(config["model_type"]), task_type(about["type"]).OUTPUT
    whole = getattr(task_type(about["type"]), "LEVEL", "") == "text"
    known = kind in TEXTS and about["shape"]["pool"] == "first" if whole else kind in WORDS
    if not known or set(head) != LINEAR or output not in PROBLEMS:
        return False
    head = {part: weights / np.float32(temperature) for part, weights in head.items()}
    prefix, name, made = WORDS[kind][0], *(_of_text if whole else _of_words)(kind, head)
    encoder = {f"{prefix}.{key}": part for key, part in load_file(bundle / WEIGHTS).items()}
    save_file(encoder | made, bundle / WEIGHTS, metadata={"format": "pt"})
    classes = about["classes"] or ["LABEL_0"]
    said = {"architectures": [name], "problem_type": PROBLEMS[output]} if whole else {}
    labels = {"id2label": {str(n): label for n, label in enumerate(classes)}}
    labels["label2id"] = {label: n for n, label in enumerate(classes)}
    write_json(bundle / "config.json", config | {"architectures": [name]} | said | labels)
    tell_tokenizer(bundle, config, about["max_tokens"])
    return True


def _of_words(kind: str, head: Arrays) -> tuple[str, Arrays]:
    _, name, own = WORDS[kind]
    return name, {f"{own}.{part}": head[f"linear.{part}"] for part in ("weight", "bias")}


def _of_text(kind: str, head: Arrays) -> tuple[str, Arrays]:
    name, between, ends, own = TEXTS[kind]
    scale, shift, weight, bias = ends(head["linear.weight"], head["linear.bias"])
    width = weight.shape[1]
    return name, {
        f"{between}.weight": np.eye(width, dtype=np.float32) * np.float32(scale),
        f"{between}.bias": np.full(width, shift, dtype=np.float32),
        f"{own}.weight": np.ascontiguousarray(weight, dtype=np.float32),
        f"{own}.bias": bias,
    }


def tell_tokenizer(bundle: Path, config: dict[str, Any], max_tokens: int) -> None:
    """Have tokenizer.json read as it is: a class of its own might make another of it."""
    file = bundle / "tokenizer_config.json"
    known = read_json(file) if file.exists() else {}
    typed = config.get("type_vocab_size", 0) > 1
    inputs = ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"]
    known |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs}
    known["model_max_length"] = min(max_tokens, known.get("model_max_length", max_tokens))
    padding = config.get("pad_token_id")
    token = None
    if padding is not None:
        token = Tokenizer.from_file(str(bundle / "tokenizer.json")).id_to_token(padding)
    if token is not None:
        known["pad_token"] = token
    write_json(file, known)
