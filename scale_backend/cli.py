"""`scale-backend`: runs a command and turns its errors into sentences."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scale_backend.formats.closed_output import end_quietly
from scale_backend.formats.errors import UserError
from scale_backend.formats.whole_files import file_error_sentence

if TYPE_CHECKING:
    from scale_backend.commands.decode import Decode
    from scale_backend.commands.import_released import ImportBody, ImportCheckpoint
    from scale_backend.commands.serve import Doctor, Info, Serve

DESCRIPTION = "Pose-driven clothes: decode motions, serve Blender, examine the installation."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit code 0; 2 for what the user can put right, told in one sentence; 130 and 143 for signals,
    141 when nobody reads the output any more.

    Anything else is a fault of the code: its traceback is shown, and Python ends with 1.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        code = parse(arguments).run()
        sys.stdout.flush()  # while a reader who has gone can still be heeded
        return code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except ModuleNotFoundError:
        sentence = missing_packages()
        if not sentence:  # not one of ours to install: a fault of the code
            raise
        print(sentence, file=sys.stderr)
        return 2
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        return end_quietly()
    except OSError as error:  # the system's, about a file
        print(file_error_sentence(error), file=sys.stderr)
        return 2


def parse(arguments: Sequence[str] | None) -> Serve | Doctor | Decode | Info | ImportBody | ImportCheckpoint:
    from functools import reduce
    from operator import or_
    from typing import Annotated, Any

    import tyro

    from scale_backend.commands.decode import Decode
    from scale_backend.commands.import_released import ImportBody, ImportCheckpoint
    from scale_backend.commands.serve import Doctor, Info, Serve
    from scale_backend.commands.track import Track

    kinds = {"serve": Serve, "doctor": Doctor, "decode": Decode, "info": Info}
    kinds |= {"import-body": ImportBody, "import-checkpoint": ImportCheckpoint, "track": Track}
    choice: Any = reduce(or_, (Annotated[kind, tyro.conf.subcommand(name)] for name, kind in kinds.items()))
    options = (tyro.conf.OmitSubcommandPrefixes,)
    return tyro.cli(choice, prog="scale-backend", description=DESCRIPTION, args=arguments, config=options)


def missing_packages() -> str:
    """One sentence for all that this Python lacks; empty when it lacks nothing."""
    from importlib.util import find_spec

    from scale_backend.client.requirements import REQUIRED, install_command

    missing = [name for name in REQUIRED if find_spec(name) is None]
    if not missing:
        return ""
    command = install_command(*(REQUIRED[name][0] for name in missing))
    return f"The Python {sys.executable} has no {', '.join(missing)}; install with: {command}"
