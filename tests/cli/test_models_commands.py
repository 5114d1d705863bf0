"""`crossplay call`, `models probe`, `models bench`, `models add`, as a user meets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossplay.models import ModelDown, catalog
from crossplay.models.loopback import Loopback

CROSSPLAY = [sys.executable, "-m", "crossplay"]
STUDY = """
[study]
name = "s"
[environments.game]
name = "matrix/stag_hunt"
[agents]
r = "random"
[lineups]
"r+r" = ["r", "r"]
[models.paid]
backend = "scripted"
price = { input = 1.0, output = 2.0 }
answers = ["forty-two"]
[models.unpriced]
backend = "http"
url = "URL"
model = "nobody-7b"
"""


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home" / "models").mkdir(parents=True)
    return tmp_path / "home"


def run(home, *words, code=0, text=None):
    env = {**os.environ, "CROSSPLAY_HOME": str(home)}
    done = subprocess.run(
        [*CROSSPLAY, *map(str, words)], capture_output=True, text=True, timeout=120, env=env, input=text
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr
    return done


def study(folder, url="http://127.0.0.1:9/v1"):
    file = folder / "study.toml"
    file.write_text(STUDY.replace("URL", url))
    return file


def test_call_costs_once(home, tmp_path):
    file = study(tmp_path)
    first = run(home, "call", "paid", "-", "--study", file, text="What is six times seven?")
    assert first.stdout.startswith("forty-two\n")
    assert "USD (price of the table: given by the user)" in first.stdout
    assert "asked now" in first.stdout
    again = run(home, "call", "paid", "What is six times seven?", "--study", file)
    assert "free this time; --fresh asks again" in again.stdout
    fresh = json.loads(
        run(home, "call", "paid", "What is six times seven?", "--study", file, "--fresh", "--json").stdout
    )
    assert (fresh["sent"], fresh["from_cassette"]) == (1, 0)
    assert fresh["usd"] > 0
    assert fresh["answers"][0]["text"] == "forty-two"
    three = run(home, "call", "paid", "And?", "--study", file, "--n", "3", "--temperature", "1", "--seed", "5")
    assert three.stdout.startswith("1) forty-two\n2) forty-two\n3) forty-two\n")


def test_call_an_address_with_schema_and_picture(home, tmp_path):
    from PIL import Image

    picture, schema = tmp_path / "p.png", tmp_path / "s.json"
    Image.new("RGB", (8, 8), "white").save(picture)
    schema.write_text('{"type": "object", "properties": {"action": {"enum": ["A", "B"]}}, "required": ["action"]}')
    with Loopback(script=lambda number, body: '{"action": "A"}') as server:
        words = ("call", f"{server.url}#m", "Which?", "--system", "Be brief.", "--schema", schema, "--image", picture)
        done = run(home, *words, "--max-tokens", "9", "--seed", "4")
        [sent] = server.requests
        assert "nothing is paid" in done.stdout
        unknown = run(home, "call", "unpriced", "hi", "--study", study(tmp_path, server.url))
        assert 'UNKNOWN: no price is known for model "nobody-7b"' in unknown.stdout
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert sent["messages"][1]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert sent["response_format"]["json_schema"]["schema"] == json.loads(schema.read_text())
    assert (sent["max_tokens"], sent["seed"]) == (9, 4)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("scripte", "x"), 2, 'unknown model "scripte". Did you mean "scripted"'),
        (("smollm2-135m", "x"), 3, "crossplay models pull smollm2-135m"),
        (("scripted", "x", "--n", "0"), 2, "--n 0 must be at least 1"),
        (("scripted", "x", "--schema", "/nowhere.json"), 3, "/nowhere.json: No such file"),
        (("http://127.0.0.1:9/v1#m", "x"), 3, "Is the server running?"),
    ],
)
def test_what_goes_wrong_is_one_line(home, words, code, said):
    done = run(home, "call", *words, code=code)
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_probe_and_bench(home, tmp_path):
    found = run(home, "models", "probe", "scripted", code=0)
    assert "json schema" in found.stdout
    assert "capabilities = { grammar = true, json_schema = true" in found.stdout
    kept = json.loads((home / "models" / "probes.json").read_text())
    assert kept["scripted"]["findings"][0] == {
        "name": "json_schema",
        "found": "yes",
        "said": "the answer keeps to it",
    }
    file = study(tmp_path)
    file.write_text(STUDY + '\n[models.boasts]\nbackend = "scripted"\ncapabilities = { logprobs = true }\n')
    boasts = run(home, "models", "probe", "boasts", "--study", file, code=1)
    assert "declared, but not seen to work: logprobs" in boasts.stderr
    with Loopback(latency_s=0.001) as server:
        words = ("models", "bench", f"{server.url}#m", "--repeats", "2", "--words", "16", "--tokens", "8")
        data = json.loads(run(home, *words, "--at-once", "2", "--json").stdout)
        shown = run(home, *words).stdout
    assert [level["at_once"] for level in data["levels"]] == [1, 2]
    assert data["prompt_s"]["low"] <= data["prompt_s"]["median"]
    assert "8 at once, all answers" in shown


def test_the_real_weights_answer_and_say_what_they_took(home):
    pytest.importorskip("xllamacpp")
    try:
        weights = catalog.pull("smollm2-135m")
    except ModelDown as error:
        pytest.skip(str(error))
    copy = home / "copy.gguf"
    copy.symlink_to(weights)
    added = json.loads(run(home, "models", "add", copy, "--json").stdout)
    assert (added["name"], added["licence"], added["context"]) == ("smollm2-135m", "Apache-2.0", 8192)
    done = run(home, "call", "smollm2-135m", "Say hello.", "--max-tokens", "3")
    assert "CPU s of this machine" in done.stdout
    assert "3 out" in done.stdout
    assert "[cut at --max-tokens]" in done.stdout
    assert Path(home, "calls", "cassette.sqlite").exists()


def test_the_list_is_json_too(home):
    [found] = json.loads(run(home, "models", "list", "--json").stdout)
    assert found["model"]["name"] == "smollm2-135m" and found["state"] == "not here"
