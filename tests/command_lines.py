"""The usual arguments of run.py, and what its storage holds."""

GRID = ("--search", "grid")


def asked(study_file, image_folder, storage):
    """The options of the small study on these images, in this storage."""
    return [
        "--experiment",
        study_file(),
        "--data-root",
        str(image_folder),
        "--storage",
        str(storage),
        "--name",
        "small",
    ]


def contents(folder):
    """Time and size of every path below the folder."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
