"""Pipeline step `notify`: says how the run ended, whatever became of the other steps."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, packages_to_install=[], install_kfp_package=False)
def notify(status: dsl.PipelineTaskFinalStatus) -> None:
    """Says in the log, and to the address in SIAMESE_NOTIFY_URL if there is one, how the run ended.

    Args:
        status: given by the orchestrator.
    """
    from siamese import notify as step

    step.run(
        {"pipeline": status.pipeline_job_resource_name, "state": status.state, "error": status.error_message or ""}
    )
