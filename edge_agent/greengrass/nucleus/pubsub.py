"""Local topics: messages between components of the device."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from edge_agent.greengrass.topics import filter_matches, has_wildcard

# The component that messages from the control socket seem to come from.
OUTSIDE = ""


class LocalSubscription:
    """One open SubscribeToTopic. `from_others_only` skips messages of the subscriber itself."""

    def __init__(self, topic: str, component: str, deliver: Callable[[Dict[str, Any]], None], *, others: bool) -> None:
        self.topic = topic
        self.component = component
        self.deliver = deliver
        self.from_others_only = others


class LocalTopics:
    def __init__(self) -> None:
        self._subscriptions: List[LocalSubscription] = []

    def publish(self, topic: str, kind: str, message: Any, component: str) -> int:
        """Deliver `message` as `kind` (jsonMessage or binaryMessage); gives the number of subscriptions it went to."""
        matching = [each for each in self._subscriptions if filter_matches(each.topic, topic)]
        matching = [each for each in matching if not (each.from_others_only and each.component == component)]
        for subscription in matching:
            subscription.deliver({kind: {"message": message, "context": {"topic": topic}}})
        return len(matching)

    def subscribe(self, subscription: LocalSubscription) -> None:
        self._subscriptions.append(subscription)

    def unsubscribe(self, subscription: LocalSubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)


def receives_from_others_only(topic: str, mode: Optional[str]) -> bool:
    """The classic nucleus's rule: a filter with a wildcard does not see its own component's messages, unless asked."""
    if mode is None:
        return has_wildcard(topic)
    return mode == "RECEIVE_MESSAGES_FROM_OTHERS"
