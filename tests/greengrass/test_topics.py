"""Topic rules, and what accessControl allows."""

from __future__ import annotations

import pytest
from greengrass_tools import MQTT, PUBSUB

from edge_agent.greengrass.nucleus.authorization import Authorization
from edge_agent.greengrass.topics import filter_matches, publish_topic_problem, topic_problem

PUBLISH = "aws.greengrass#PublishToIoTCore"


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a/b/c", False),
        ("a/+/c", "a/b/c", True),
        ("+/b", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("#", "$aws/things", False),
        ("+/things", "$aws/things", False),
        ("$aws/#", "$aws/things", True),
        ("/a", "a", False),
        ("+", "/a", False),
        ("+/+", "/a", True),
    ],
)
def test_mqtt_filters(topic_filter, topic, matches):
    assert filter_matches(topic_filter, topic) is matches


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("a/b/c/d/e/f/g/h", None),
        ("a/b/c/d/e/f/g/h/i", "8 slashes"),
        ("$aws/rules/my_rule/a/b/c/d/e/f/g/h", None),
        ("$AWS/rules/my_rule/a/b/c/d/e/f/g/h/i", "8 slashes"),
        ("x" * 256, None),
        ("x" * 257, "257 bytes"),
        ("ä" * 129, "258 bytes"),
        ("", "empty"),
        ("a\0b", "character that MQTT forbids"),
        ("a\ud800b", "character that MQTT forbids"),
    ],
)
def test_limits_of_iot_core(topic, problem):
    found = topic_problem(topic)
    assert found is None if problem is None else problem in found
    assert publish_topic_problem(topic) == found


@pytest.mark.parametrize("topic", ["#", "a/#", "+/a", "a+b"])
def test_publish_topics_have_no_wildcards(topic):
    assert topic_problem(topic) is None
    assert "wildcard" in publish_topic_problem(topic)


def _allows(resource, topic, lite, service=MQTT, operations=(PUBLISH,)):
    policy = {"p1": {"operations": list(operations), "resources": [resource]}}
    return Authorization({service: policy}, thing="Thing1", lite=lite).allows(service, PUBLISH, topic)


# What nucleus lite was measured to allow; the classic nucleus agrees except where noted.
@pytest.mark.parametrize(
    ("resource", "allowed", "refused"),
    [
        ("star/*", ["star/a", "star/a/b", "star/", "star/#", "star/+/b"], ["star", "xstar/a"]),
        ("star2/*/end", ["star2/a/end", "star2/a/b/end"], ["star2/end", "star2/a/end/x"]),
        ("plus/+/end", ["plus/a/end", "plus/+/end"], ["plus/a/b/end", "plus/a"]),
        ("hash/#", ["hash/a/b", "hash/#", "hash/"], ["hashes/a"]),
        ("thing/{iot:thingName}/*", ["thing/Thing1/a"], ["thing/Other/a", "thing/{iot:thingName}/a"]),
        ("{configuration:/prefix}/x", [], ["cfgprefix/x", "{configuration:/prefix}/x"]),
        ("$aws/things/{iot:thingName}/shadow/*", ["$aws/things/Thing1/shadow/get"], ["$aws/things/Other/shadow/get"]),
        ("*", ["a", "a/b", "$aws/x"], []),
        ("exact/a.b", ["exact/a.b"], ["exact/aXb", "exact/a.b/c"]),
        ("escaped/${*}", ["escaped/*"], ["escaped/a"]),
    ],
)
@pytest.mark.parametrize("lite", [False, True])
def test_resources(resource, allowed, refused, lite):
    assert [topic for topic in allowed if not _allows(resource, topic, lite)] == []
    assert [topic for topic in refused if _allows(resource, topic, lite)] == []


def test_parent_of_hash_is_allowed_by_the_classic_nucleus_only():
    assert _allows("hash/#", "hash", lite=False)
    assert not _allows("hash/#", "hash", lite=True)


@pytest.mark.parametrize("lite", [False, True])
def test_local_topics_know_the_star_only(lite):
    assert _allows("local/*", "local/a/b", lite, service=PUBSUB)
    assert _allows("local/+", "local/+", lite, service=PUBSUB)
    assert not _allows("local/+", "local/a", lite, service=PUBSUB)
    assert not _allows("local/#", "local/a", lite, service=PUBSUB)


@pytest.mark.parametrize("lite", [False, True])
def test_operations(lite):
    assert _allows("*", "a", lite, operations=["*"])
    assert not _allows("*", "a", lite, operations=["aws.greengrass#SubscribeToIoTCore"])
    assert not _allows("*", "a", lite, operations=[])
    assert not Authorization({}, thing="t", lite=lite).allows(MQTT, PUBLISH, "a")
    assert Authorization(None, thing="t", lite=lite).allows(MQTT, PUBLISH, "a")


def test_policies_over_4096_bytes_allow_nothing_on_lite():
    resources = [f"{'x' * 90}/{index}" for index in range(50)]
    policies = {MQTT: {"p1": {"operations": ["*"], "resources": ["a", *resources]}}}
    assert Authorization(policies, thing="t", lite=False).allows(MQTT, PUBLISH, "a")
    assert not Authorization(policies, thing="t", lite=True).allows(MQTT, PUBLISH, "a")


def test_question_mark_in_a_topic_on_lite():
    assert _allows("*", "a?b", lite=False)
    assert not _allows("*", "a?b", lite=True)
