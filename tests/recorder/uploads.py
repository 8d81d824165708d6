"""What the tests of the upload ask a recorder and a bucket."""

from __future__ import annotations

import json
from typing import Any, Dict, List

from recorder.conftest import Rig
from support.s3_loopback import S3
from support.waiting import until

UPLOAD = {"bucket": "parts", "prefix": "press-7"}
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}


def on_a_device(uri: str) -> Dict[str, str]:
    """What a nucleus gives a component that depends on the token exchange service."""
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "component-token"}


def upload_of(rig: Rig) -> Dict[str, Any]:
    return dict(rig.recorder.status()["upload"])


def books(rig: Rig, lane: str = "a") -> Dict[str, Any]:
    counts = dict(upload_of(rig)["lanes"].get(lane, {"waiting": 0}))
    assert counts.pop("balanced", True)
    return counts


def sent(rig: Rig, lane: str = "a") -> Dict[str, Any]:
    """The books when nothing waits any more."""
    rig.settled(lane)
    until(lambda: books(rig, lane)["waiting"] == 0)
    return books(rig, lane)


def numbers(s3: S3, bucket: str = "parts") -> List[int]:
    """Of the images whose line is there, in the order in which the lines came; whatever a line names is there, too."""
    objects, found = s3.buckets[bucket], []
    for key in dict.fromkeys(key for key in s3.put if key.endswith(".manifest")):
        line = json.loads(objects[key])
        for name in ("source-ref", "anomaly-mask-ref"):
            assert name not in line or objects[line[name][len(f"s3://{bucket}/") :]]
        found.append(json.loads(objects[key[: -len("manifest")] + "json"])["sequence"])
    return found
