import json

from proxy_attention.classification_metrics import CLASSIFICATION_METRICS
from proxy_attention.records import EpochRecord, TrialReport, as_json


def test_a_record_survives_json(config, tiny, finish):
    records, report = finish(config(), tiny)

    for record in records:
        assert EpochRecord(**json.loads(json.dumps(as_json(record)))) == record
    plain = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert plain["classes"] == list(report.classes)
    assert plain["confusion"] == [list(row) for row in report.confusion]


def test_a_record_from_before_steps_could_be_skipped_or_shrink_can_still_be_read(config, tiny, finish):
    records, _ = finish(config(), tiny)
    plain = [as_json(record) for record in records]
    assert [(row.pop("step_skipped"), row.pop("step_subset")) for row in plain] == [(False, 0.0), (False, 1.0)]

    older = [EpochRecord(**row) for row in plain]

    assert [record.proxy_step for record in older] == [False, True]
    assert [(record.step_skipped, record.step_subset) for record in older] == [(False, 0.0)] * 2


def test_a_report_from_before_the_reliability_diagram_was_kept_can_still_be_read(config, tiny, finish):
    _, report = finish(config(), tiny)
    kept = {name: value for name, value in vars(report).items() if name != "calibration"}

    assert len(report.calibration) == 15
    assert TrialReport(**kept).calibration == ()


def test_records_and_reports_from_before_there_were_groups_can_still_be_read(config, tiny, finish):
    records, report = finish(config(), tiny)
    kept = {name: value for name, value in vars(report).items() if "group" not in name}
    plain = [as_json(record) for record in records]
    assert [(row.pop("error_set_precision"), row.pop("error_set_recall")) for row in plain] == [(None, None)] * 2

    assert [EpochRecord(**row) for row in plain] == records
    assert TrialReport(**kept) == report


def test_each_test_metric_stands_in_json_under_a_name_of_its_own(config, tiny, finish):
    _, report = finish(config(), tiny)
    plain = as_json(report)

    names = list(plain)
    first, end = names.index("test_loss") + 1, names.index("train_seconds")

    assert names[first:end] == [f"test_{name}" for name in CLASSIFICATION_METRICS]
    assert {"test_precision", "test_recall", "test_f1", "test_ece"} <= set(names)
    assert [plain[name] for name in names[first:end]] == list(report.test_metrics.values())
