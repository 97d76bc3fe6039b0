"""`charrnn train`: learn a text. Every option comes from `TrainingOptions`; what older scripts say is understood too.

It knows how options are spelled on a command line. It does not know what they do.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli import INTERRUPTED
from charrnn.cli.model_path import MODEL_IN_FOLDER, find_model
from charrnn.cli.spelling import command, parameter, with_options
from charrnn.network.options import ALIASES, TrainingOptions

app = typer.Typer(add_completion=False)

HOW_DEFAULTS_ARE_CHOSEN = """
How defaults are chosen: they are made for three minutes on two processor cores, the budget of whoever sets none.
What is not given depends on the length of the text, on its number of distinct characters, on the budget (--minutes,
--max-steps, --max-epochs) and on what the processor is, not on a measured speed: on one machine the same text and
options give the same network. The choices were made on texts held out from training, of three kinds: plays, source
code, another language. charrnn inspect MODEL shows what was chosen.

Older scripts: --input_file, --name, --num_seqs, --num_steps, --lstm_size, --use_embedding, --train_keep_prob,
--whitelist_file, --save_every_n and --log_every_n keep working. With any of them the learning rate is constant,
every value is used exactly as given, and a size that is not given is the original's: two layers of 128 units.
--name NAME saves model/NAME/model.safetensors.
"""

PANELS = {
    "Budget": ("minutes", "max_steps", "max_epochs", "until_stopped"),
    "Network": ("cell", "num_layers", "rnn_size", "embedding_size"),
    "Learning": (
        *("batch_size", "seq_length", "learning_rate", "schedule", "warmup_steps"),
        *("dropout", "weight_decay", "grad_clip", "seed", "keep"),
    ),
    "Text": ("max_vocab", "whitelist", "validation_fraction", "validation"),
    "Reports": ("save_every", "log_every", "validate_every", "sample_every"),
}

# Older names whose values look different from those of the option they stand for.
OLDER_VALUES: dict[str, type] = {"use_embedding": str, "whitelist_file": str}


def train(
    file: Annotated[str | None, typer.Argument(help="The text to learn: a UTF-8 file of any size.")] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", help="Where to save the model (default: FILE's name with .safetensors, in this folder)."
        ),
    ] = None,
    parent: Annotated[
        str | None, typer.Option("--parent", help="A model to begin with: it goes on with FILE, another text.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside the model.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a model and checkpoint that are there.")] = False,
    input_file: Annotated[str | None, typer.Option("--input-file", hidden=True)] = None,
    name: Annotated[str | None, typer.Option("--name", hidden=True)] = None,
    **options: Any,
) -> None:
    """Learn a text. Ctrl-C saves what has been learned so far, --resume goes on from there.

    The checkpoint of X.safetensors is X.checkpoint.safetensors, saved every 20 seconds of training. Example:

    charrnn train shakespeare.txt -o shakespeare.safetensors --minutes 3
    """
    from charrnn.lines import PROGRESS_EVERY
    from charrnn.progress import live_display
    from charrnn.training.process import run

    if file is not None and input_file is not None:
        raise typer.BadParameter("FILE and --input_file are the same: give one", param_hint="--input_file")
    source = file or input_file
    if source is None:
        raise typer.BadParameter("name the text to learn", param_hint="FILE")
    model_path = output_path(Path(source), output, name, classic=input_file is not None)
    given = {option: value for option, value in options.items() if value is not None}
    if input_file is not None or name is not None or ALIASES.keys() & given.keys():
        given = like_the_original(given)
    # someone who says how often to log wants every line
    every = 0.0 if {"log_every", "log_every_n"} & given.keys() else PROGRESS_EVERY
    wanted = TrainingOptions.parse(given, files=True)
    try:
        with live_display(True, every=every) as show:
            model = run(
            Path(source), wanted, output=model_path, parent=find_model(Path(parent)) if parent else None,
            resume=resume, force=force, callback=show,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("interrupted before there was anything to save", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if model.finished:
        print(f"the model is in {model_path}; write with it: {command('sample', str(model_path))}")
        return
    print(f"what it has learned so far is in {model_path}; go on with: {go_on_command()}")
    raise typer.Exit(INTERRUPTED)


def like_the_original(given: dict[str, Any]) -> dict[str, Any]:
    """What an older script leaves out, as the program it was written for had it: its rates suit its small network."""
    sizes = {"num_layers": 2} if {"rnn_size", "lstm_size"} & given.keys() else {"num_layers": 2, "rnn_size": 128}
    return {"schedule": "constant", "warmup_steps": 0, **sizes, **given}


def output_path(source: Path, output: str | None, name: str | None, *, classic: bool) -> Path:
    """Where the model goes: to -o, to model/NAME/model.safetensors as older scripts expect, or into this folder."""
    if output is not None:
        if name is not None:
            raise typer.BadParameter("--name and -o both say where the model goes: give one", param_hint="--name")
        if not output.endswith(".safetensors"):
            raise typer.BadParameter(f"{output} must end in .safetensors", param_hint="-o")
        return Path(output)
    if name is not None or classic:
        return Path("model") / (name or "default") / MODEL_IN_FOLDER
    return Path(source.stem + ".safetensors")


def go_on_command() -> str:
    """The command that goes on where this one stopped: the same, with --resume."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--force")]
    return command(*words, "--resume")


def training_options() -> Iterator[inspect.Parameter]:
    """One parameter for each field of TrainingOptions, then the names that older scripts use, hidden."""
    fields = TrainingOptions.model_fields
    panels = {name: panel for panel, names in PANELS.items() for name in names}
    for name in sorted(fields, key=lambda name: [*panels].index(name) if name in panels else len(panels)):
        default = fields[name].default
        help = f"{fields[name].description}" + ("" if default is None or default is False else f" (default: {default})")
        yield parameter(name, fields[name].annotation, help=help, panel=panels.get(name, "More"))
    for alias, name in ALIASES.items():
        yield parameter(alias, OLDER_VALUES.get(alias, fields[name].annotation), hidden=True)


app.command(epilog=HOW_DEFAULTS_ARE_CHOSEN)(with_options(train, training_options()))
