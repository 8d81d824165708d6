"""Which calls a recipe's accessControl allows."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Pattern

from edge_agent.greengrass.recipe import find_key

MQTT_PROXY = "aws.greengrass.ipc.mqttproxy"
PUBSUB = "aws.greengrass.ipc.pubsub"

# Nucleus lite reads all policies of one service into a buffer of this many bytes.
_LITE_POLICY_BYTES = 4096
_TOKEN = re.compile(r"\$\{(.)\}|\{([^}]*)\}|([*+#])|([^${*+#]+|.)", re.DOTALL)


@dataclass(frozen=True)
class _Rule:
    operations: FrozenSet[str]
    resources: List[Pattern[str]]

    def allows(self, operation: str, resource: str) -> bool:
        if not self.operations & {"*", operation}:
            return False
        return any(pattern.fullmatch(resource) for pattern in self.resources)


class Authorization:
    """The accessControl of one component, ready to be asked.

    Args:
        access_control: {service: {policy id: {"operations": [...], "resources": [...]}}}; None allows everything.
        thing: value of `{iot:thingName}`.
        lite: as nucleus lite matches; otherwise as the classic nucleus does.
    """

    def __init__(self, access_control: Optional[Mapping[str, Any]], *, thing: str, lite: bool) -> None:
        self._lite = lite
        self._rules: Optional[Dict[str, List[_Rule]]] = None
        if access_control is not None:
            self._rules = {
                service: _rules(policies, mqtt=service == MQTT_PROXY, thing=thing, lite=lite)
                for service, policies in access_control.items()
            }

    def allows(self, service: str, operation: str, resource: str) -> bool:
        if self._rules is None:
            return True
        if self._lite and "?" in resource:
            return False  # nucleus lite checks the requested topic with the rules for policy resources
        return any(rule.allows(operation, resource) for rule in self._rules.get(service, ()))


def _rules(policies: Mapping[str, Any], *, mqtt: bool, thing: str, lite: bool) -> List[_Rule]:
    if lite and len(json.dumps(policies, separators=(",", ":"))) > _LITE_POLICY_BYTES:
        return []
    rules = []
    for policy in policies.values():
        patterns: List[Pattern[str]] = []
        for resource in _texts(policy, "resources"):
            patterns.extend(compile_resource(resource, mqtt=mqtt, thing=thing, lite=lite))
        rules.append(_Rule(frozenset(_texts(policy, "operations")), patterns))
    return rules


def _texts(policy: Mapping[str, Any], name: str) -> List[str]:
    key = find_key(policy, name)
    values = policy[key] if key else []
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def compile_resource(resource: str, *, mqtt: bool, thing: str, lite: bool) -> List[Pattern[str]]:
    """The patterns of one policy resource; a topic is allowed when it matches one of them whole.

    `*` crosses slashes. `+` and `#` count for IoT Core only. Nucleus lite reads a resource once with `*` and once with
    the MQTT wildcards, and its `a/#` does not allow `a`; the classic nucleus reads both at once and allows it.
    A resource with a recipe variable other than `{iot:thingName}` allows nothing.
    """
    readings = [{"*"}]
    if mqtt:
        readings = [{"*"}, {"+", "#"}] if lite else [{"*", "+", "#"}]
    patterns = (_expression(resource, wildcards, thing=thing, lite=lite) for wildcards in readings)
    return [re.compile(pattern, re.DOTALL) for pattern in patterns if pattern is not None]


def _expression(resource: str, wildcards: Any, *, thing: str, lite: bool) -> Optional[str]:
    expression = ""
    for match in _TOKEN.finditer(resource):
        escaped, variable, wildcard, literal = match.groups()
        if variable is not None:
            if variable != "iot:thingName":
                return None
            expression += re.escape(thing)
        elif wildcard in wildcards:
            expression = _add_wildcard(expression, wildcard, resource, match.start(), lite=lite)
            if wildcard == "#" and lite:
                return expression
        else:
            expression += re.escape(escaped or wildcard or literal)
    return expression


def _add_wildcard(expression: str, wildcard: str, resource: str, at: int, *, lite: bool) -> str:
    if wildcard == "*":
        return expression + ".*"
    if lite:
        return expression + ("[^/]*" if wildcard == "+" else ".*")
    starts_level = at == 0 or resource[at - 1] == "/"
    ends_level = at + 1 == len(resource) or (wildcard == "+" and resource[at + 1] == "/")
    if not (starts_level and ends_level):
        return expression + re.escape(wildcard)
    if wildcard == "+":
        return expression + "[^/]*"
    # MQTT: `a/#` includes the parent level `a`.
    return expression[:-1] + "(?:/.*)?" if at else ".*"
