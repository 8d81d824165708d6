"""Generated modules of proto/edge_agent.proto. `scripts/generate_proto` makes them; never edit them by hand."""
