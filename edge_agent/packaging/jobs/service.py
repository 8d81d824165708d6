"""The three operations, whoever answers them."""

from __future__ import annotations

from typing import Any, Dict, Protocol


class PackagingService(Protocol):
    """Requests and responses are the service's structures as JSON has them; timestamps are datetimes.

    Every method raises PackagingError.
    """

    def start(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """StartModelPackagingJob."""

    def describe(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """DescribeModelPackagingJob."""

    def list(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """ListModelPackagingJobs."""
