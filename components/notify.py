"""Pipeline step `notify`: says how the run ended, whatever became of the other steps."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def notify(status: dsl.PipelineTaskFinalStatus, run: str, run_id: str) -> None:
    """Says in the log, and to the address in SIAMESE_NOTIFY_URL if there is one, how the run ended.

    Args:
        status: given by the orchestrator, which names the run by something else than people do.
        run: the run's name.
        run_id: its ID.
    """
    from siamese.errors import exit_in_one_line
    from siamese.orchestration import notify as step

    exit_in_one_line()
    step.run(step.Ending(run, run_id, step.state_of(status.state), status.error_message or ""))
