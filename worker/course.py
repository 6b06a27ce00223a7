"""What one run of the loop works with."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from learners.build import Training
from specs.job import JobSpec
from specs.phases import Phase
from worker.batches import Batches, Rows
from worker.diagnostics.panel import Panel
from worker.diagnostics.series import SeriesBuffer
from worker.diagnostics.verdicts.judge import Judge
from worker.length import Length
from worker.link import Link
from worker.meters.bill import Bill
from worker.phases import Phases


@dataclass
class Course:
    """All that one run of the loop works with. ``training`` is the running phase's; ``build`` makes the next one's."""

    spec: JobSpec
    training: Training
    phases: Phases
    build: Callable[[Phase, Training], Training]
    batches: Batches
    validation: Rows
    length: Length
    panel: Panel
    judge: Judge
    series: SeriesBuffer
    bill: Bill
    link: Link
    folder: Path
    dataset_sha256: str
    autocast: Callable[[], AbstractContextManager[None]]
