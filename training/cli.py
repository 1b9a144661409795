"""`scale-train`: one subcommand a module, imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module

from scale_backend.formats.closed_output import end_quietly
from scale_backend.formats.errors import UserError
from scale_backend.formats.whole_files import file_error_sentence

# subcommand: (module, its settings class, what it does)
COMMANDS = {
    "simulate": ("training.simulate.run", "SimulateSettings", "simulate a garment on the body: raw frames"),
    "record": ("training.simulate.record", "RecordSettings", "a garment's cloth in motion: sequences"),
    "motions": ("training.simulate.motions", "MotionSettings", "make the motions that ship"),
    "build-body": ("training.body_builder.build", "BuildBodySettings", "build the free body"),
    "pack": ("training.frames.pack", "PackSettings", "raw frames or pairs of scan and body to packed frames"),
    "check": ("training.frames.check", "CheckSettings", "look for faults in a folder of frames"),
    "posmap": ("training.pictures.posmap", "PosmapSettings", "positional map, mask and points of a UV template"),
    "recipe": ("training.recipes", "RecipeSettings", "print a recipe that ships"),
    "train": ("training.learning.train", "TrainSettings", "train a garment from a recipe"),
    "test": ("training.testing.results", "ResultSettings", "packed frames through a garment: .ply files and figures"),
    "render": ("training.pictures.render", "RenderSettings", "pictures and a film of .ply results"),
    "measure": ("training.testing.moving", "MeasureSettings", "measure a garment on cloth in motion"),
    "evaluate": ("training.testing.evaluate", "EvaluateSettings", "measure a garment on held-out frames"),
}


def usage() -> str:
    lines = [f"  {name:<12}{summary}" for name, (_, _, summary) in COMMANDS.items()]
    return "\n".join(["usage: scale-train COMMAND [options]   (scale-train COMMAND --help for its options)", *lines])


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand. What the user can mend is told in one sentence, with exit code 2.

    Anything else is a fault of the code: its traceback is shown, and Python ends with 1.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, 1)
        print(f"scale-train has no command '{name}'{f'; did you mean {near[0]}?' if near else '.'}\n{usage()}",
              file=sys.stderr)  # fmt: skip
        return 2
    import tyro

    path, settings_name, _ = COMMANDS[name]
    try:
        module = import_module(path)
        settings = tyro.cli(getattr(module, settings_name), prog=f"scale-train {name}", args=rest)
        module.run(settings)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return end_quietly()
    except OSError as error:
        sentence = file_error_sentence(error)
    except UserError as error:
        sentence = " ".join(str(error).split())
    else:
        return 0
    print(f"scale-train {name}: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
