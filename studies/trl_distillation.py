"""A command trainer around TRL's DistillationTrainer, for `trl_distillation.yaml`: pip install trl.

TRL's temperature divides the logits of both models in the loss, and those of the student when it writes. The
prompts are JSON lines, {"prompt": "…", "answer": "…"}; a held-out one counts as right where what the student
writes most likely begins with the answer. The last line printed is the result that kdsearch reads.
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

HELD_OUT = 0.2


def parser() -> argparse.ArgumentParser:
    """Return what the script can be asked."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--temperature", type=float, required=True)
    options.add_argument("--lr", type=float, required=True)
    options.add_argument("--seed", type=int, required=True)
    options.add_argument("--epochs", type=float, default=1.0)
    options.add_argument(
        "--teacher", default="Qwen/Qwen2.5-1.5B-Instruct", help="a name of the Hub, or a folder"
    )
    options.add_argument("--student", default="Qwen/Qwen2.5-0.5B-Instruct")
    options.add_argument("--prompts", type=Path, default=Path("prompts.jsonl"))
    options.add_argument("--tokens", type=int, default=64, help="the most that the student writes")
    return options


def split(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    """Return rows to train on and rows held out: every fifth, the same whatever the seed."""
    every = round(1 / HELD_OUT)
    return [row for k, row in enumerate(rows) if k % every], rows[::every]


def is_right(written: str, answer: str) -> bool:
    """Return whether what was written begins with the answer."""
    return written.strip().startswith(answer.strip())


def train(asked: argparse.Namespace, rows: list[dict]):
    """Distil the teacher into the student and return the student with its tokenizer."""
    import torch
    from transformers import AutoTokenizer
    from trl import DistillationConfig, DistillationTrainer

    with tempfile.TemporaryDirectory() as folder:  # packs share the folder of the launch
        config = DistillationConfig(
            output_dir=folder,
            temperature=asked.temperature,
            learning_rate=asked.lr,
            seed=asked.seed,
            num_train_epochs=asked.epochs,
            max_completion_length=asked.tokens,
            per_device_train_batch_size=8,
            beta=0.0,  # forward KL, as Hinton's; 1 is reverse
            bf16=torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
        )
        tokenizer = AutoTokenizer.from_pretrained(asked.student, padding_side="left")
        prompts = [{"prompt": row["prompt"]} for row in rows]
        trainer = DistillationTrainer(
            model=asked.student,
            teacher_model=asked.teacher,
            args=config,
            train_dataset=prompts,
            processing_class=tokenizer,
        )
        trainer.train()
    return trainer.model.eval(), tokenizer


def accuracy(model, tokenizer, rows: list[dict], tokens: int) -> float:
    """Return the share of rows that are answered right, written greedily."""
    right = 0
    for row in rows:
        prompt = tokenizer(row["prompt"], return_tensors="pt").to(model.device)
        written = model.generate(**prompt, max_new_tokens=tokens, do_sample=False)
        text = tokenizer.decode(written[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
        right += is_right(text, row["answer"])
    return right / len(rows)


def main() -> None:
    """Train one student and print its accuracy."""
    asked = parser().parse_args()
    rows = [json.loads(line) for line in asked.prompts.read_text().splitlines() if line.strip()]
    to_train, held_out = split(rows)
    student, tokenizer = train(asked, to_train)
    if not all(math.isfinite(float(p.detach().sum())) for p in student.parameters()):
        sys.exit("The training diverged.")
    print(json.dumps({"val_accuracy": accuracy(student, tokenizer, held_out, asked.tokens)}))


if __name__ == "__main__":
    main()
