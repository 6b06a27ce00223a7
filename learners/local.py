"""Which blocks learn at a step, for rules that train blocks by themselves."""

from specs.rule import BlockSchedule


def learning_blocks(schedule: BlockSchedule, step: int, depth: int, steps_per_block: int) -> range:
    """Indices of the blocks that learn at ``step``: a pure function, so a resumed job goes on in the same block."""
    if schedule == "simultaneous":
        return range(depth)
    if schedule == "sequential":
        return range(step % depth, step % depth + 1)
    block = min(step // steps_per_block, depth - 1)
    return range(block, block + 1)
