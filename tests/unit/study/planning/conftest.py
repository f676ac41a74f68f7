"""A planner of the small study, and a config of it with proxies."""

import pytest

from study.planning.planner import Planner
from study.planning.study_file import parse_study


@pytest.fixture
def planner(image_folder, study_text):
    return Planner.of(parse_study(study_text), data_root=image_folder, device="cpu", auto=lambda config: {})


@pytest.fixture
def base(study_text):
    return parse_study(study_text).config({"schedule": "1,p"}, 0)
