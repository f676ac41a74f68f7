"""Values that the tests of the commands share."""

import pytest


@pytest.fixture
def study_file(study_text, tmp_path):
    """Write the small study, or another text, as a study.toml."""

    def write(text=study_text):
        folder = tmp_path / "asked"
        folder.mkdir(exist_ok=True)
        (folder / "study.toml").write_text(text)
        return str(folder)

    return write
