"""Texts for `texts.yaml`: which part of SciPy does a sentence of its documentation come from?

The sentences are those of the docstrings that SciPy's installed files hold (BSD-3-Clause), so nothing is
downloaded. A tokenizer is trained on them here, and BERT is made from a configuration: pip install
'kdsearch-hpo[hf]'.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

CLASSES = ("interpolate", "linalg", "optimize", "signal", "spatial", "stats")
LENGTH = 24  # tokens; longer sentences are cut
VOCABULARY = 1500


@cache  # SciPy's files take seconds to parse
def corpus():
    """Return the sentences as tokens and masks with their labels; kdsearch splits them."""
    texts = {sentence: label for label, part in enumerate(CLASSES) for sentence in _sentences(part)}
    encoded = zip(_tokenizer(list(texts)).encode_batch(list(texts)), texts.values(), strict=True)
    rows = {tuple(e.ids): (e.attention_mask, label) for e, label in encoded}  # what is cut may be equal
    masks, labels = zip(*rows.values(), strict=True)
    return ({"input_ids": list(rows), "attention_mask": masks}, labels), None


def teacher(num_classes, vocab_size, max_length):
    """Return a BERT of two layers."""
    return _bert(num_classes, vocab_size, max_length, width=128, layers=2)


def student(num_classes, vocab_size, max_length):
    """Return a BERT of one layer, a quarter as wide."""
    return _bert(num_classes, vocab_size, max_length, width=32, layers=1)


def _sentences(part: str) -> Iterator[str]:
    """Yield the first sentences of a subpackage's docstrings, in the order of its files."""
    folder = Path(find_spec("scipy").origin).parent / part
    for file in sorted(folder.rglob("*.py")):
        if "tests" not in file.parts:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and (said := ast.get_docstring(node)):
                    prose = re.split(r"\n[^\n]*\n\s*-{3,}", said)[0]  # up to the first heading
                    yield from (s for s in re.split(r"(?<=[.:])\s+", " ".join(prose.split())) if len(s) > 30)


def _tokenizer(texts: list[str]):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))  # noqa: S106 - no password; WordPiece's trainer gives others each time
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    return tokenizer


def _bert(num_classes: int, vocab_size: int, max_length: int, *, width: int, layers: int):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=vocab_size,
        max_position_embeddings=max_length,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        num_labels=num_classes,
    )
    return BertForSequenceClassification(config)
