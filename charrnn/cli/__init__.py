"""The command line: which commands there are, and how errors end.

It knows the commands by name and loads only the one that is called. What they do is in their own modules; what they
are a skin of is the library.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

from charrnn.cli.quick import QuickGroup
from charrnn.errors import CharRNNError, InvalidOptions

# where each command is: a module, and the name of its typer app there unless it is `app`
ON_FILES = {
    "train": "charrnn.cli.train",
    "sample": "charrnn.cli.sample",
    "evaluate": "charrnn.cli.evaluate",
    "inspect": "charrnn.cli.inspect",
}
ON_THE_WORKSPACE = {
    "new": "charrnn.cli.begin:new_app",
    "upload": "charrnn.cli.models:upload_app",
    "start": "charrnn.cli.begin:start_app",
    "stop": "charrnn.cli.trainings:stop_app",
    "continue": "charrnn.cli.trainings:continue_app",
    "list": "charrnn.cli.show:list_app",
    "show": "charrnn.cli.show:show_app",
    "logs": "charrnn.cli.show:logs_app",
    "fork": "charrnn.cli.begin:fork_app",
    "rename": "charrnn.cli.models:rename_app",
    "export": "charrnn.cli.models:export_app",
    "import": "charrnn.cli.models:import_app",
    "delete": "charrnn.cli.models:delete_app",
    "supervise": "charrnn.cli.supervise",
    "db": "charrnn.cli.database",
    "backup": "charrnn.cli.backup:backup_app",
    "restore": "charrnn.cli.backup:restore_app",
}
COMMANDS = ON_FILES | ON_THE_WORKSPACE
PANELS = {"Files": ON_FILES, "Workspace: models by name, trained in the background": ON_THE_WORKSPACE}
INTERRUPTED = 130  # what a shell makes of Ctrl-C


class Commands(QuickGroup):
    """The commands, each imported when it is called: `sample` never pays for what `train` needs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        module, _, name = COMMANDS.get(cmd_name, "").partition(":")
        if not module:
            return None
        command: Any = get_command(getattr(import_module(module), name or "app"))
        command.name = cmd_name
        command.rich_help_panel = next(panel for panel, commands in PANELS.items() if cmd_name in commands)
        return command


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    # --rnn-size and --rnn_size are the same option
    context_settings={
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "help_option_names": ["-h", "--help"],
    },
)


def show_version(wanted: bool) -> None:
    if wanted:
        from charrnn import __version__

        print(f"charrnn {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def charrnn(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Learn any text with a recurrent neural network, and write like it. Nothing leaves this machine."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    write_utf8()
    try:
        result = app(classic_flags(words), prog_name="charrnn", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except InvalidOptions as error:
        return fail(with_fields(error))
    except CharRNNError as error:
        return fail(str(error))
    except typer.TyperException as error:
        hint = " ".join(["charrnn", *[word for word in words[:1] if word in COMMANDS]])
        return fail(f"{error.format_message().rstrip('.')} (see {hint} --help)", code=error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return reader_left()
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except SystemExit as error:  # how typer ends when whoever reads our output is gone
        reader_left()
        return error.code if isinstance(error.code, int) else 1


def fail(message: str, *, code: int = 1) -> int:
    """Print an error in one line and return the exit code."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return code


def with_fields(error: InvalidOptions) -> str:
    """The error's message, and what is wrong with each option where the message does not say so already."""
    missing = [f"{name}: {text}" for name, text in error.fields.items() if text not in str(error)]
    return "; ".join([str(error), *missing])


def write_utf8() -> None:
    """Write UTF-8 whatever the locale says: the texts are UTF-8, and a log under LANG=C must not end in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def reader_left() -> int:
    """`charrnn sample | head` has read enough: end without a word, at exit too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


TRUE_WORDS = {"true", "t", "yes", "y", "1"}
FALSE_WORDS = {"false", "f", "no", "n", "0"}


def classic_flags(words: Sequence[str]) -> list[str]:
    """`words` with the flag --use_embedding of older scripts, in each of its spellings, as --use-embedding=true|false.

    It could stand alone, with a value after it or after `=`, and as --nouse_embedding.
    """
    result: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = word.replace("_", "-")
        if name == "--":
            return [*result, word, *rest]
        if name in ("--nouse-embedding", "--no-use-embedding"):
            word = "--use-embedding=false"
        elif name == "--use-embedding":
            value = rest.pop(0) if rest and rest[0].lower() in TRUE_WORDS | FALSE_WORDS else "true"
            word = f"--use-embedding={'true' if value.lower() in TRUE_WORDS else 'false'}"
        result.append(word)
    return result
