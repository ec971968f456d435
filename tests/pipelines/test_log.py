"""Of what kfp's local runner prints, a person sees the steps' own words, each with its step, and how each ended."""

from __future__ import annotations

import io

from pipelines.log import Log

PRINTED = """\
12:00:00.000 - INFO - Running pipeline: \x1b[95m'siamese'\x1b[0m
12:00:01.000 - INFO - Executing task \x1b[96m'train'\x1b[0m
12:00:01.000 - INFO - Streamed logs:

    [KFP Executor 2026-01-01 12:00:02,000 INFO]: Got executor_input:
    {
        "inputs": {
            "seed": 0
        }
    }
    epoch 1/1  loss 0.5
        model: written
    [KFP Executor 2026-01-01 12:00:03,000 INFO]: Wrote executor output file
    12:00:04.000 - INFO - Task \x1b[96m'train'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
12:00:04.000 - INFO - Task \x1b[96m'train'\x1b[0m outputs:
    Output: True
12:00:05.000 - INFO - Executing task \x1b[96m'data-version'\x1b[0m
12:00:06.000 - INFO - Task \x1b[96m'data-version'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
"""
SHOWN = "train: epoch 1/1  loss 0.5\ntrain: model: written\ntrain: success\ndata_version: failure\n"


def test_steps_words_and_endings_are_shown_and_everything_is_kept() -> None:
    everything, shown = io.StringIO(), io.StringIO()
    log = Log(everything, shown)
    for begin in range(0, len(PRINTED), 7):  # in pieces, as a container's words come
        log.write(PRINTED[begin : begin + 7])
    assert (shown.getvalue(), everything.getvalue()) == (SHOWN, PRINTED)
