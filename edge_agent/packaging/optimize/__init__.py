"""Makes a package's ONNX network ready for its target: fewer operators, pixels in, fewer bits where asked.

`graph` knows ONNX graphs, `precision` fewer bits, `package` what a package has to do with it (docs/packaging.md).
"""
