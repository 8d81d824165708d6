"""Models compiled by SageMaker Neo: their files, and the process that runs one of them.

Two loaders run such a model: our own, for graphs on a CPU (`executor`, `abi`, `pool`, `params`), and Neo's own runtime,
the `libdlr.so` of the package, for everything else (`dlr`). Both load foreign code, so they run in the child process
(`child`) alone, which `engine` and `process` start from the server, and which is kept from the network (`no_network`).
`protocol` is what the two processes say to each other, `memory` what they share; `artifacts` and `graph` read the files
of a stranger and check them.
"""
