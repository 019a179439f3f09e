"""The far side of the pipes, in this process: messages, and libraries that are stand-ins."""

# ruff: noqa: N802, N815
# Stand-ins for Java classes have Java's names.

from __future__ import annotations

import io
import json
import os
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idrstream.formats.java import worker as worker
from idrstream.formats.java.bioformats_backend import BioFormats, start_jvm
from idrstream.formats.java.imagej_backend import ImageJ, to_tczyx
from idrstream.formats.java.protocol import ImageProblemError, MissingError, identity
from idrstream.workers.messages import read_message, write_message

words = st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers(), max_size=4)


@given(st.lists(words, max_size=4))
def test_messages_come_back_as_they_went(headers):
    stream = io.BytesIO()
    for header in headers:
        write_message(stream, header)
    stream.seek(0)
    assert [read_message(stream) for _ in headers] == [{**h, "nbytes": 0} for h in headers]
    assert read_message(stream) is None


def test_serve_answers_until_the_input_ends():
    class Backend:
        def info(self, path, image):
            if path == "missing":
                raise MissingError("get it")
            return {"n_frames": 1}

        def plane(self, path, image, t, channel, z):
            assert image == 2
            if t > 0:
                raise ImageProblemError("no\n such plane")
            return b"pixels"

        closed = False

        def close(self):
            if self.closed:
                raise RuntimeError
            self.closed = True

    requests, replies = io.BytesIO(), io.BytesIO()
    for request in (
        {"ask": "info", "image": 0, "path": "x"},
        {"ask": "info", "image": 0, "path": "missing"},
        {"ask": "plane", "path": "x", "image": 2, "t": 0, "channel": 0, "z": 0},
        {"ask": "plane", "path": "x", "image": 2, "t": 1, "channel": 0, "z": 0},
        {"ask": "close", "path": "x"},
        {"ask": "close", "path": "x"},
    ):
        write_message(requests, request)
    requests.seek(0)
    worker.serve(Backend(), iter(lambda: read_message(requests), None), replies)
    replies.seek(0)
    answers = []
    while prefix := replies.read(4):
        header = json.loads(replies.read(struct.unpack(">I", prefix)[0]))
        answers.append((header, replies.read(header.pop("nbytes"))))
    assert answers == [
        ({"info": {"n_frames": 1}}, b""),
        ({"error": "missing", "message": "get it"}, b""),
        ({"plane": 0}, b"pixels"),
        ({"error": "image", "message": "no such plane"}, b""),
        ({"closed": "x"}, b""),
        ({"error": "image", "message": "RuntimeError"}, b""),
    ]


@pytest.mark.parametrize(
    ("error", "answer", "status"),
    [
        (None, {"ready": "any"}, 0),
        (MissingError("get it"), {"error": "missing", "message": "get it"}, 1),
        (RuntimeError("java"), {"error": "start", "message": "java"}, 1),
    ],
)
def test_main(tmp_path, monkeypatch, error, answer, status):
    def make(kind, location, folder):
        sys.stdout.flush()
        os.write(1, b"noise of a library")
        if error:
            raise error

    monkeypatch.setattr(worker, "make_backend", make)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO()))
    folder = tmp_path / "lent"
    folder.mkdir()
    with (tmp_path / "out").open("w+b") as out, (tmp_path / "err").open("w+b") as err:
        saved = os.dup(1), os.dup(2)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            assert worker.main(["any", "where", str(folder)]) == status
        finally:
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
    sent = (tmp_path / "out").read_bytes()
    assert json.loads(sent[4:]) == {**answer, "nbytes": 0}
    assert (tmp_path / "err").read_bytes() == b"noise of a library"
    assert folder.exists() == (status == 1)


def test_make_backend_knows_two(monkeypatch):
    with pytest.raises(MissingError, match="unknown kind"):
        worker.make_backend("other", "x", "y")
    for kind in ("bioformats", "imagej"):
        module = "jpype" if kind == "bioformats" else "imagej"
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingError, match=r'pip install "idrstream\[imagej\]"'):
            worker.make_backend(kind, "x", "y")


def fake_jpype(monkeypatch, classes=None, error=None) -> types.SimpleNamespace:
    class NotFoundError(ValueError):
        pass

    started: dict = {}

    def start(*options, **more):
        if error:
            raise NotFoundError(error)
        started.update(options=options, **more)

    def jclass(name):
        if classes is None or name not in classes:
            raise TypeError(f"Class {name} is not found")
        return classes[name]

    module = types.SimpleNamespace(
        getDefaultJVMPath=lambda: "/lib/libjvm.so",
        startJVM=start,
        JClass=jclass,
        JVMNotFoundException=NotFoundError,
        JVMNotSupportedException=NotFoundError,
        started=started,
    )
    monkeypatch.setitem(sys.modules, "jpype", module)
    return module


def test_java_gets_the_jar_and_the_folder(monkeypatch):
    module = fake_jpype(monkeypatch)
    start_jvm(["/a b/x.jar"], "/tmp/own")
    assert module.started["classpath"] == ["/a b/x.jar"]
    assert "-Djava.io.tmpdir=/tmp/own" in module.started["options"]
    assert "-Djava.awt.headless=true" in module.started["options"]


def test_no_java_and_no_library(monkeypatch):
    fake_jpype(monkeypatch, error="No JVM shared library file (libjvm.so) found")
    with pytest.raises(MissingError, match=r"no Java was found: install one .*libjvm\.so"):
        BioFormats("x.jar", "/tmp")
    fake_jpype(monkeypatch)
    with pytest.raises(MissingError, match=r"x\.jar is not a complete bioformats_package"):
        BioFormats("x.jar", "/tmp")


class FakeImageReader:
    """Bio-Formats' reader, as far as it is used: 2 x 3 pixels, big-endian, value = index."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.rgb = 1
        self.series = None
        self.flattened = True

    def setMetadataOptions(self, options) -> None:
        assert options == "dynamic minimum"

    def getUsedFiles(self):
        return self.ids[-1:]

    def setId(self, path) -> None:
        if "bad" in path:
            raise ValueError("unknown format")
        self.ids.append(path)

    def setSeries(self, series) -> None:
        self.series = series

    def setFlattenedResolutions(self, flattened) -> None:
        self.flattened = flattened

    def getSeriesCount(self) -> int:
        return 4

    def close(self) -> None:
        self.ids.append("close")

    def getRGBChannelCount(self) -> int:
        return self.rgb

    def getIndex(self, z, c, t) -> int:
        return 1000 * self.series + 100 * z + 10 * c + t

    def openBytes(self, index) -> bytes:
        return struct.pack(">6H", *[index] * 6)

    def isLittleEndian(self) -> bool:
        return False

    def getPixelType(self) -> int:
        return 3

    def getSizeT(self) -> int:
        return 5

    getSizeZ = getSizeC = getSizeT

    def getSizeY(self) -> int:
        return 2

    def getSizeX(self) -> int:
        return 3


def test_bioformats_without_java(monkeypatch, tmp_path):
    reader = FakeImageReader()
    fake_jpype(
        monkeypatch,
        {
            "loci.common.DebugTools": types.SimpleNamespace(setRootLevel=lambda _level: None),
            "loci.formats.in.MetadataLevel": types.SimpleNamespace(MINIMUM="minimum"),
            "loci.formats.ImageReader": lambda: reader,
            "loci.formats.in.DynamicMetadataOptions": lambda level: f"dynamic {level}",
            "loci.formats.FormatTools": types.SimpleNamespace(
                getPixelTypeString=lambda _n: "uint16"
            ),
        },
    )
    backend = BioFormats("x.jar", "/tmp")
    path = tmp_path / "x.tif"
    path.write_text("x")
    assert not reader.flattened  # the smaller copies of a pyramid are no images
    assert backend.info(str(path), 0) == {
        "n_files": 1,
        "n_images": 4,
        "n_frames": 5,
        "n_planes": 5,
        "n_channels": 5,
        "height": 2,
        "width": 3,
        "dtype": "uint16",
    }
    assert backend.plane(str(path), 2, 4, 2, 3) == struct.pack("<6H", *[2324] * 6)
    assert reader.ids == ["close", str(path)]
    # Another file under the same name is opened anew.
    path.write_text("another")
    backend.info(str(path), 0)
    assert reader.ids[2:] == ["close", str(path)]
    backend.close()
    reader.rgb = 3
    with pytest.raises(ImageProblemError, match="colour"):
        backend.info(str(path), 0)
    (tmp_path / "bad").write_text("x")
    with pytest.raises(ValueError, match="unknown format"):
        backend.info(str(tmp_path / "bad"), 0)


def test_identity_changes_with_the_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("a")
    first = identity(str(path))
    assert identity(str(path)) == first
    path.write_text("ab")
    assert identity(str(path)) != first


@given(st.permutations(["t", "row", "col", "ch", "pln"]), st.integers(2, 5), st.data())
def test_axes_in_any_order(dims, n_dims, data):
    lengths = {"t": 2, "row": 3, "col": 4, "ch": 5, "pln": 6}
    dims = [dim for dim in dims if dim in ("row", "col") or data.draw(st.booleans())]
    array = np.arange(np.prod([lengths[d] for d in dims])).reshape([lengths[d] for d in dims])
    movie = to_tczyx(array, tuple(dims))
    order = ["t", "ch", "pln", "row", "col"]
    assert movie.shape == tuple(lengths[d] if d in dims else 1 for d in order)
    position = {dim: lengths[dim] - 1 if dim in dims else 0 for dim in order}
    assert movie[tuple(position.values())] == array[tuple(position[d] for d in dims)]


@pytest.mark.parametrize(
    "dims", [(), ("t", "row"), ("t", "what", "row", "col"), ("t", "time", "row", "col")]
)
def test_axes_that_are_not_understood(dims):
    with pytest.raises(ImageProblemError, match="not understood"):
        to_tczyx(np.zeros((2,) * len(dims)), dims)


class FakeScyjava(types.ModuleType):
    """scyjava, as far as it is used."""

    def __init__(self, jars, error=None, started=False) -> None:
        super().__init__("scyjava")
        self.options: list[str] = []
        self.classpath: tuple[str, ...] = ()
        self.fetch: str | None = None
        self.endpoints = ["net.imglib2:imglib2-imglyb:2.0.1"]
        self.config = types.SimpleNamespace(
            add_option=self.options.append,
            find_jars=lambda folder: [f"{folder}/{jar}" for jar in jars],
            add_classpath=lambda *paths: setattr(self, "classpath", paths),
            set_java_constraints=lambda fetch: setattr(self, "fetch", fetch),
            endpoints=self.endpoints,
        )
        self.error, self.started = error, started

    def start_jvm(self) -> None:
        if self.error:
            raise self.error
        self.started = True

    def jvm_started(self) -> bool:
        return self.started


class FakeArray(np.ndarray):
    dims = ("t", "row", "col", "ch")


@pytest.fixture
def fake_imagej(monkeypatch):
    def install(scyjava, *, gateway=True) -> types.ModuleType:
        module = types.ModuleType("imagej")
        module.Mode = types.SimpleNamespace(HEADLESS="headless")
        module.opened, module.locations = [], []
        module.unlocked = []
        module._unlock_modules = module.unlocked.append
        movie = (np.arange(2 * 3 * 4, dtype=">u2") + 1).reshape(2, 3, 4, 1).view(FakeArray)

        def opens(path):
            module.opened.append(path)
            return None if "bad" in path else movie

        ij = types.SimpleNamespace(
            io=lambda: types.SimpleNamespace(open=opens),
            py=types.SimpleNamespace(from_java=lambda image: image),
        )

        def init(location=None, mode=None):
            module.locations.append(location)
            return ij if gateway else False

        module.init = init
        monkeypatch.setitem(sys.modules, "scyjava", scyjava)
        monkeypatch.setitem(sys.modules, "imagej", module)
        return module

    return install


def test_imagej_on_a_local_fiji_stays_off_the_network(fake_imagej, tmp_path):
    scyjava = FakeScyjava(["ij.jar"])
    module = fake_imagej(scyjava)
    backend = ImageJ(str(tmp_path), "/tmp/own")
    assert scyjava.endpoints == []
    assert scyjava.fetch == "never"
    assert scyjava.classpath == (f"{tmp_path}/jars/ij.jar", f"{tmp_path}/plugins/ij.jar")
    assert "-Djava.io.tmpdir=/tmp/own" in scyjava.options
    assert module.locations == [None]
    assert len(module.unlocked) == 1
    path = tmp_path / "x.ch5"
    path.write_text("x")
    assert backend.info(str(path), 0) == {
        "n_images": 1,
        "n_frames": 2,
        "n_planes": 1,
        "n_channels": 1,
        "height": 3,
        "width": 4,
        "dtype": "uint16",
    }
    plane = backend.plane(str(path), 0, 1, 0, 0)
    assert plane == np.arange(13, 25, dtype="<u2").tobytes()
    assert module.opened == [str(path)]
    backend.close()
    backend.info(str(path), 0)
    assert module.opened == [str(path)] * 2
    (tmp_path / "bad").write_text("x")
    with pytest.raises(ImageProblemError, match="does not know this format"):
        backend.info(str(tmp_path / "bad"), 0)


def test_imagej_by_coordinate(fake_imagej):
    scyjava = FakeScyjava([])
    module = fake_imagej(scyjava)
    ImageJ("sc.fiji:fiji:2.14.0", "/tmp")
    assert scyjava.fetch == "auto"
    assert module.locations == ["sc.fiji:fiji:2.14.0"]


@pytest.mark.parametrize(
    ("scyjava", "gateway", "message"),
    [
        (FakeScyjava([]), True, "has no jars"),
        (FakeScyjava(["x.jar"], OSError("no JVM")), True, "no JVM.*no Java was found"),
        (FakeScyjava(["x.jar"], TypeError("no class"), started=True), True, "no complete ImageJ2"),
        (FakeScyjava(["x.jar"]), False, "has no ImageJ2"),
    ],
)
def test_imagej_that_is_not_there(fake_imagej, tmp_path, scyjava, gateway, message):
    fake_imagej(scyjava, gateway=gateway)
    with pytest.raises(MissingError, match=message):
        ImageJ(str(tmp_path), "/tmp")


def test_the_module_runs_as_a_program(tmp_path):
    import subprocess

    import idrstream

    done = subprocess.run(
        [sys.executable, "-m", "idrstream.formats.java.worker", "other", "x", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(idrstream.__file__).parents[1])},
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout[4:])["error"] == "missing"
