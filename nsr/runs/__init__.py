"""From a specification to a run: a trained network and its contours, loaded if it is stored, else computed.

A run is a folder of a store: `spec.json`, `weights.safetensors`, `history.json`, `contours/*.json`, `readings/*.json`
and `provenance.json`, which holds the digest of every other file and its own. What is unfinished lies there too, so
every run is taken up where it stopped. A run that is shipped without its weights shows what was found, and is trained
again where more is to be found.

`next_job` says what a run lacks next, `Job.result` computes it from values alone, wherever that is, and `keep` puts it
into the store: one loop over the three is `run`, and the same loop over many runs and workers is `sweep`.
"""

from nsr.runs.checkpoint import how_far, under_way
from nsr.runs.code_digest import ATTACKING, CERTIFYING, READING, TRAINING, code_digests
from nsr.runs.compute import Job, keep, next_job, run
from nsr.runs.protocols import MEASUREMENTS, READINGS, Measurement, Reading, measurement
from nsr.runs.specification import CNN_SIZES, NUMBERS, SIZES, Spec, spec
from nsr.runs.store import Run, adopt, folders, load, refuse_stale, runs, stored

__all__ = [
    "ATTACKING",
    "CERTIFYING",
    "CNN_SIZES",
    "MEASUREMENTS",
    "NUMBERS",
    "READING",
    "READINGS",
    "SIZES",
    "TRAINING",
    "Job",
    "Measurement",
    "Reading",
    "Run",
    "Spec",
    "adopt",
    "code_digests",
    "folders",
    "how_far",
    "keep",
    "load",
    "measurement",
    "next_job",
    "refuse_stale",
    "run",
    "runs",
    "spec",
    "stored",
    "under_way",
]
