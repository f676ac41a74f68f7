import json

from proxy_attention.records import EpochRecord, as_json


def test_a_record_survives_json(config, tiny, finish):
    records, report = finish(config(), tiny)

    for record in records:
        assert EpochRecord(**json.loads(json.dumps(as_json(record)))) == record
    plain = json.loads(json.dumps(as_json(report), allow_nan=False))
    assert plain["classes"] == list(report.classes)
    assert plain["confusion"] == [list(row) for row in report.confusion]
