"""`vivid` with its model sharded over CPU processes, for tests: what `accelerate launch` runs with train/fsdp.yaml.

Accelerate takes up FSDP only where it counts GPUs (`AcceleratorState.__init__`, the branch of MULTI_GPU and its kin):
on CPUs it says nothing and trains with DDP. torch itself shards on CPUs too.
"""

from __future__ import annotations

from accelerate.state import DistributedType, PartialState

from pipeline.cli import main

if __name__ == "__main__":
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    main()
