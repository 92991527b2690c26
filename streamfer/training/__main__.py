"""`python -m streamfer.training`: train a recipe, export the run, evaluate a model card."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from streamfer.errors import StreamferError, UsageError
from streamfer.training import data


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status (2: bad input, with one line on stderr)."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        {"train": _train, "export": _export, "evaluate": _evaluate}[options.command](options)
    except StreamferError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        resume = "; the same command goes on after the last epoch" if options.command == "train" else ""
        print(f"stopped{resume}", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if error.name not in ("keras", "tensorflow"):
            raise
        print(f"error: {options.command} needs {error.name}: pip install 'streamfer[train]'", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streamfer.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train", help="train a network by a recipe; goes on where a killed run stopped"
    )
    train.add_argument("recipe", type=Path, metavar="RECIPE", help="the recipe, a YAML file")
    train.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints, history and the model"
    )

    export = commands.add_parser("export", help="make the LiteRT model and its card from a finished run")
    export.add_argument("run", type=Path, metavar="RUN", help="the folder given to train as --out")
    export.add_argument("--out", type=Path, required=True, help="folder for NAME.tflite and card.json")

    evaluate = commands.add_parser("evaluate", help="measure the model of a card; prints JSON")
    evaluate.add_argument("card", type=Path, metavar="CARD", help="the model's card.json")

    for command in (train, export, evaluate):
        command.add_argument(
            "--data", type=Path, required=True, metavar="FILE", help="fer2013.npz or Kaggle's fer2013.csv"
        )
    return parser


def _train(options: argparse.Namespace) -> None:
    from streamfer.training import recipe

    chosen, dataset = recipe.load(options.recipe), data.load(options.data)
    _make_folder(options.out)
    from streamfer.training.train import train

    model = train(chosen, dataset, options.out, lambda line: print(line, flush=True))
    print(f"wrote {model}; next: python -m streamfer.training export {options.out} --data … --out …")


def _export(options: argparse.Namespace) -> None:
    from streamfer.training.export import export

    dataset = data.load(options.data)
    _make_folder(options.out)
    card = export(options.run, dataset, options.out)
    print(json.dumps({"file": card["file"], **card["weights"], **card["metrics"]}, indent=2))


def _evaluate(options: argparse.Namespace) -> None:
    from streamfer.training.evaluate import evaluate

    print(json.dumps(evaluate(options.card, data.load(options.data)), indent=2))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
