"""Damages files: a bit of any, a value of a JSON file."""

import json


def flipped(content, bit):
    """Return the content with this bit flipped."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flips(file, draws, count):
    """Flip one bit of a file at a time, and yield its number."""
    content = file.read_bytes()
    for bit in draws.choices(range(len(content) * 8), k=count):
        file.write_bytes(flipped(content, bit))
        yield bit


def mutations(value, draws):
    """Change one value somewhere in a JSON value: by another type, a huge number, text that is no name, nothing."""
    strange = [None, True, -1, 10**40, 1e308, "", "../../x", "/etc/passwd", "a\nb", [], {}, [[]], "\udcff", {"x": {}}]
    value = json.loads(json.dumps(value))
    places, todo = [], [value]
    while todo:
        here = todo.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here))
        places += [(here, key) for key in keys]
        todo += [here[key] for key in keys if isinstance(here[key], dict | list)]
    here, key = draws.choice(places)
    if draws.random() < 0.2:
        del here[key]
    else:
        here[key] = draws.choice(strange)
    return value
