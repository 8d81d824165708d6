"""Where references lead: directories that stand for S3, and objects that a real HTTP server gives as S3 does."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest
from manifests import image_line, mask_entries, save_image, write_lines

from edge_agent.errors import TrainingError
from edge_agent.training.ground_truth import read_ground_truth
from edge_agent.training.locations import Locations


class S3(http.server.BaseHTTPRequestHandler):
    """GetObject of the REST API of S3, by path, with ETag and If-None-Match."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0]
        body = self.server.objects.get(path)
        self.server.asked.append((path, self.headers.get("If-None-Match")))
        if body is None:
            text = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
            self._send(404, text, '"none"')
            return
        tag = f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324 - what S3 calls an ETag
        if self.headers.get("If-None-Match") == tag:
            self._send(304, b"", tag)
        else:
            self._send(200, body, tag)

    def _send(self, code, body, tag):
        self.send_response(code)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def s3(monkeypatch):
    pytest.importorskip("boto3")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), S3)
    server.daemon_threads = True
    server.objects, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_prefixes_stand_for_directories_and_the_longest_counts(tmp_path):
    for name in ("all/images/a.png", "masks/a.png", "beside.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(tmp_path / name)
    mapped = [("s3://bucket/set", tmp_path / "all"), ("s3://bucket/set/masks/", tmp_path / "masks")]
    places = Locations(tmp_path, mapped)
    assert places.file("s3://bucket/set/images/a.png") == tmp_path / "all" / "images" / "a.png"
    assert places.file("s3://bucket/set/masks/a.png") == tmp_path / "masks" / "a.png"
    assert places.file("beside.png") == tmp_path / "beside.png"
    with pytest.raises(TrainingError, match="lies in S3"):
        places.file("s3://bucket/settled/images/a.png")
    with pytest.raises(TrainingError, match=r"is not a file: .*all/images/b\.png"):
        places.file("s3://bucket/set/images/b.png")
    with pytest.raises(TrainingError, match="neither a path nor a place in S3"):
        places.file("https://bucket/set/images/a.png")
    for rest in ("../beside.png", "images/../../beside.png", "images//a.png", "images/a\0.png"):
        with pytest.raises(TrainingError, match="leads elsewhere"):
            places.file(f"s3://bucket/set/{rest}")


def test_objects_are_fetched_once_and_again_when_they_changed(tmp_path, s3):
    s3.objects["/bucket/deep/a.png"] = b"first"
    cache = tmp_path / "cache"
    found = Locations(tmp_path, cache=cache).file("s3://bucket/deep/a.png")
    assert (found, found.read_bytes()) == (cache / "bucket" / "deep" / "a.png", b"first")
    assert Locations(tmp_path, cache=cache).file("s3://bucket/deep/a.png").read_bytes() == b"first"
    s3.objects["/bucket/deep/a.png"] = b"second"
    assert Locations(tmp_path, cache=cache).file("s3://bucket/deep/a.png").read_bytes() == b"second"
    assert [tag is not None for _, tag in s3.asked] == [False, True, True]
    assert sorted(path.name for path in found.parent.iterdir()) == [".a.png.etag", "a.png"]


def test_a_manifest_of_the_service_with_its_objects_in_s3(tmp_path, s3):
    for name in ("good.png", "bad.png", "mask.png"):
        save_image(tmp_path / name)
        s3.objects[f"/bucket/{name}"] = (tmp_path / name).read_bytes()
    manifest = write_lines(
        tmp_path,
        [
            image_line("s3://bucket/good.png", 0),
            {**image_line("s3://bucket/bad.png", 1), **mask_entries("s3://bucket/mask.png", {"dent": "#23A436"})},
        ],
    )
    labelled = read_ground_truth(manifest, Locations(tmp_path, cache=tmp_path / "cache"))
    assert [example.image for example in labelled.examples] == [
        tmp_path / "cache" / "bucket" / name for name in ("good.png", "bad.png")
    ]
    assert labelled.examples[1].mask.read_bytes() == (tmp_path / "mask.png").read_bytes()
    manifest.write_text(json.dumps(image_line("s3://bucket/gone.png", 0)))
    with pytest.raises(
        TrainingError, match=r"line 1: source-ref: 's3://bucket/gone\.png' was not given by S3 .*NoSuchKey"
    ):
        read_ground_truth(manifest, Locations(tmp_path, cache=tmp_path / "cache"))


def test_a_key_that_climbs_out_of_the_cache_is_not_fetched(tmp_path, s3):
    with pytest.raises(TrainingError, match="leads elsewhere"):
        Locations(tmp_path, cache=tmp_path / "cache").file("s3://bucket/../../x.png")
    assert s3.asked == []
    assert not (tmp_path / "cache").exists()


def test_an_object_too_large_leaves_nothing(tmp_path, s3, monkeypatch):
    monkeypatch.setattr("edge_agent.training.locations._MAX_BYTES", 10)
    s3.objects["/bucket/a.png"] = b"x" * 11
    with pytest.raises(TrainingError, match="more than 10 bytes"):
        Locations(tmp_path, cache=tmp_path / "cache").file("s3://bucket/a.png")
    assert list((tmp_path / "cache" / "bucket").iterdir()) == []


def test_no_endpoint_is_one_clear_error(tmp_path, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(TrainingError, match=r"was not given by S3 .*Check credentials") as caught:
        Locations(tmp_path, cache=Path(tmp_path / "cache")).file("s3://bucket/a.png")
    assert isinstance(caught.value.__cause__, Exception)
