"""What is served over HTTP: figures and health (docs/metrics.md), and the server for an inspector's own pages."""

from __future__ import annotations

from edge_agent.web.exposition import Exposition
from edge_agent.web.http_server import Answer, HttpServer, Request, read_token, words
from edge_agent.web.process_figures import add_process_figures

__all__ = ["Answer", "Exposition", "HttpServer", "Request", "add_process_figures", "read_token", "words"]
