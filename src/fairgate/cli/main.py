"""The command line. A command's module is imported when it is called, so that `--help` is quick.

stdout is data, stderr is progress. Exit status: 0 ok, 1 found problems, 2 usage, 3 cannot reach a dependency,
4 refused for safety, 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys

import typer

from fairgate import __version__

# command → (module, what it does), in the order of `--help`. `register(app)` of a module adds its commands.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("fairgate.cli.demo", "Rehearse an on-sale on real servers and prove the result."),
    "bench": ("fairgate.cli.bench", "Measure joins, positions, the drain and the time to a ticket."),
    "chaos": ("fairgate.cli.chaos", "Break real servers under load and prove that nobody is lost or served twice."),
    "up": ("fairgate.cli.stack", "Start everything on this machine: Kafka, Valkey, PostgreSQL, all of Fairgate."),
    "status": ("fairgate.cli.stack", "Say what of the stack runs, and where."),
    "down": ("fairgate.cli.stack", "Stop the stack that `up` started."),
    "events": ("fairgate.cli.events", "Create, list, open, pause and close lines."),
    "queue": ("fairgate.cli.queue", "Rebuild lines from the journal, and see what they lost."),
    "topics": ("fairgate.cli.topics", "Bring the Kafka topics to what they must be."),
    "ops": ("fairgate.cli.ops", "Look at the pipeline: lag, outbox, orphans."),
    "audit": ("fairgate.cli.audit", "Print the books and every difference with its users."),
    "dlq": ("fairgate.cli.dlq", "Look at dead letters, and send them again."),
    "replay": ("fairgate.cli.replay", "Let a group read again from an earlier place; repeats no effect."),
    "run": ("fairgate.cli.run", "Run one role: api, admission, relay, ticketing, notification or live."),
    "migrate": ("fairgate.cli.run", "Bring the database to this version."),
}

FOUND_PROBLEMS, USAGE, UNREACHABLE, REFUSED, INTERRUPTED = 1, 2, 3, 4, 130


def build(arguments: list[str]) -> typer.Typer:
    """The app with the called command's module loaded; of the others only their line in the help."""
    app = typer.Typer(
        name="fairgate",
        help="A fair line, a bearable rate, exactly one ticket.\n\n"
        "Examples:  fairgate up   ·   fairgate events create my-event --rate 50 --capacity 1000 --open",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    called = next((word for word in arguments if not word.startswith("-")), "")
    module = COMMANDS[called][0] if called in COMMANDS else None
    if module is not None:
        importlib.import_module(module).register(app)
    for name, (home, text) in COMMANDS.items():
        if home != module:
            app.command(name, help=text)(_not_loaded)
    return app


def main() -> None:
    """Run; every error of ours as one line with what to do, never a trace."""
    from fairgate.errors import ConfigError, FairgateError, ServerUnreachable, Unavailable, Unsafe

    app = build(sys.argv[1:])
    try:
        app()
    except (ServerUnreachable, Unavailable) as error:
        _fail(error.detail, getattr(error, "hint", ""), UNREACHABLE)
    except Unsafe as error:
        _fail(error.detail, error.hint, REFUSED)
    except ConfigError as error:
        _fail(error.detail, error.hint, USAGE)
    except FairgateError as error:
        _fail(error.detail, "", FOUND_PROBLEMS)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ValueError as error:
        if type(error).__name__ != "ValidationError":
            raise
        _fail(_settings(error), "see the settings in docs/configuration.md", USAGE)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print it and stop."),
) -> None:
    """What every command has in common."""


def _not_loaded() -> None:
    raise AssertionError("a command's module is loaded when it is called")


def _settings(error: ValueError) -> str:
    problems: list[dict[str, object]] = error.errors()  # type: ignore[attr-defined]
    names = [".".join(str(part) for part in problem["loc"]) for problem in problems]  # type: ignore[attr-defined]
    return "; ".join(f"FAIRGATE_{name.upper()}: {p['msg']}" for name, p in zip(names, problems, strict=True))


def _fail(what: str, hint: str, status: int) -> None:
    print(f"✗ {what}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
    sys.exit(status)
