"""SageMaker Neo's compiled models for CPUs: their files, their calling convention, and the process that runs them.

`artifacts`, `params` and `graph` read the files and check them, as a stranger's; `layout` says which tensors are shared
between the processes. Those run in any process. `abi`, `pool` and `executor` load foreign code: they run in the child
process (`child`) alone, which `process` starts; `protocol` is what the two say to each other.
"""
