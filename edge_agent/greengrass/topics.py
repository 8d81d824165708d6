"""Rules of MQTT topic names and filters, and of AWS IoT Core on top of them."""

from __future__ import annotations

import re
from typing import Optional

#: AWS IoT Core: slashes and UTF-8 bytes of one topic.
MAX_SLASHES = 7
MAX_TOPIC_BYTES = 256

# Basic Ingest: the first three levels name the rule and do not count against the limits.
_BASIC_INGEST = re.compile(r"^\$aws/rules/[^/]+/", re.IGNORECASE)


def has_wildcard(topic: str) -> bool:
    return "+" in topic or "#" in topic


def topic_is_malformed(topic: str) -> bool:
    """True for what MQTT 3.1.1 section 1.5.3 and 4.7.3 call a protocol error: no character, NUL, a lone surrogate."""
    return not topic or "\0" in topic or any("\ud800" <= character <= "\udfff" for character in topic)


def topic_problem(topic: str) -> Optional[str]:
    """Why AWS IoT Core takes neither a publish nor a subscription on this topic, in one clause; None when it does."""
    if not topic:
        return "the topic is empty"
    if topic_is_malformed(topic):
        return "the topic holds a character that MQTT forbids"
    counted = _BASIC_INGEST.sub("", topic)
    if counted.count("/") > MAX_SLASHES:
        return f"the topic has {counted.count('/')} slashes; AWS IoT Core allows {MAX_SLASHES}"
    size = len(counted.encode())
    if size > MAX_TOPIC_BYTES:
        return f"the topic has {size} bytes; AWS IoT Core allows {MAX_TOPIC_BYTES}"
    return None


def publish_topic_problem(topic: str) -> Optional[str]:
    """Why a message cannot be published to this topic, in one clause; None when it can."""
    if has_wildcard(topic):
        return "the topic contains a wildcard (+ or #)"
    return topic_problem(topic)


def filter_matches(topic_filter: str, topic: str) -> bool:
    """True when an MQTT subscription to `topic_filter` receives messages on `topic` (MQTT 3.1.1 section 4.7)."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)
